// Closed forms of the systolic array against a unit-by-unit simulation, against figures of other tools, and
// against laws.
#include <algorithm>
#include <cmath>
#include <functional>

#include "engine/random.h"
#include "tests/doctest.h"
#include "tests/reference/systolic_array.h"
#include "wavecore/systolic.h"

namespace mbs {
namespace {

using enum ArrayDataflow;
using Model = CycleModel;
constexpr ArrayDataflow kDataflows[] = {ws, os, is};

struct Product {
  int64_t m, n, k;
};

/// Small numbers, no zero among them.
std::vector<int64_t> values(int64_t count, int64_t seed) {
  std::vector<int64_t> all(static_cast<size_t>(count));
  for (size_t i = 0; i < all.size(); ++i)
    all[i] = static_cast<int64_t>(1 + (i * i * 7 + i * 3 + static_cast<size_t>(seed)) % 11);
  return all;
}

std::vector<int64_t> multiply(const std::vector<int64_t>& a, const std::vector<int64_t>& b,
                              const Product& p) {
  std::vector<int64_t> c(static_cast<size_t>(p.m * p.n));
  for (int64_t i = 0; i < p.m; ++i)
    for (int64_t j = 0; j < p.n; ++j)
      for (int64_t l = 0; l < p.k; ++l)
        c[static_cast<size_t>(i * p.n + j)] +=
            a[static_cast<size_t>(i * p.k + l)] * b[static_cast<size_t>(l * p.n + j)];
  return c;
}

reference::SimulatedGemm simulate(const Product& p, const ArrayShape& array, ArrayDataflow dataflow,
                                  Model model, bool hurry = false) {
  return reference::simulate_gemm(values(p.m * p.k, 1), values(p.k * p.n, 2), p.m, p.n, p.k, array, dataflow,
                                  model, hurry);
}

using ClosedForm = std::function<GemmCycles(const Product&, const ArrayShape&, ArrayDataflow, Model)>;

GemmCycles closed_form(const Product& p, const ArrayShape& array, ArrayDataflow dataflow, Model model) {
  return gemm_cycles(p.m, p.n, p.k, array, dataflow, model);
}

/// Counts where `form` and the simulation differ, and where the simulated product is wrong; every array up to
/// rows x cols, and products of 1 to `most` in steps.
int64_t differences(const ClosedForm& form, int64_t rows, int64_t cols, int64_t most, int64_t step) {
  int64_t found = 0;
  for (int64_t m = 1; m <= most; m += step)
    for (int64_t n = 1; n <= most; n += step)
      for (int64_t k = 1; k <= most; k += step) {
        const Product p{m, n, k};
        const std::vector<int64_t> c = multiply(values(m * k, 1), values(k * n, 2), p);
        for (int64_t r = 1; r <= rows; ++r)
          for (int64_t s = 1; s <= cols; ++s)
            for (const ArrayDataflow dataflow : kDataflows)
              for (const Model model : {Model::none, Model::drain, Model::double_buffer}) {
                // No row tiles, and row tiles of a size that depends on the shape.
                for (const int64_t tile : {int64_t{0}, 1 + (m + n + k + r + s) % 4}) {
                  if (tile > 0 && dataflow == os) continue;
                  const ArrayShape array{r, s, tile};
                  const reference::SimulatedGemm simulated = simulate(p, array, dataflow, model);
                  const GemmCycles counted = form(p, array, dataflow, model);
                  if (counted.cycles != simulated.cycles || counted.folds != simulated.folds ||
                      simulated.c != c)
                    ++found;
                }
              }
      }
  return found;
}

TEST_CASE("systolic: the closed form is the unit-by-unit simulation, whose product is right") {
  EXPECT(differences(closed_form, 4, 4, 7, 1) == 0);
}

TEST_CASE("systolic: planted faults are found") {
  SUBCASE("one cycle less in one kind of shape") {
    const ClosedForm wrong = [](const Product& p, const ArrayShape& array, ArrayDataflow dataflow,
                                Model model) {
      GemmCycles counted = closed_form(p, array, dataflow, model);
      if (model == Model::double_buffer && array.tile_rows > 1 && p.m % array.tile_rows == 1)
        --counted.cycles;
      return counted;
    };
    EXPECT(differences(wrong, 3, 3, 5, 2) > 0);
  }
  SUBCASE("a machine that begins one cycle early computes another product") {
    const Product p{5, 6, 9};
    const ArrayShape array{3, 2, 0};
    const std::vector<int64_t> c = multiply(values(5 * 9, 1), values(9 * 6, 2), p);
    for (const ArrayDataflow dataflow : kDataflows)
      for (const Model model : {Model::none, Model::drain, Model::double_buffer}) {
        CAPTURE(static_cast<int>(dataflow));
        CAPTURE(static_cast<int>(model));
        const reference::SimulatedGemm early = simulate(p, array, dataflow, model, true);
        EXPECT(early.cycles < closed_form(p, array, dataflow, model).cycles);
        EXPECT(early.c != c);
      }
  }
}

// M, N, K; then ws folds and cycles without overlap, with drain, with double buffering; os folds, cycles as
// SCALE-Sim counts and with the drain; is without overlap. The columns of SCALE-Sim's conventions (ws, os v3,
// is) equal what that program printed, plus one, on an array of 128 x 128.
struct Row {
  Product p;
  int64_t ws_folds, ws_none, ws_drain, ws_double, os_folds, os_scalesim, os_none, is_none;
};
const Row kWorked[] = {
    {{128, 128, 128}, 1, 510, 510, 510, 1, 382, 510, 510},
    {{256, 128, 128}, 1, 638, 638, 638, 2, 764, 1020, 1020},
    {{128, 256, 128}, 2, 1020, 766, 638, 2, 764, 1020, 638},
    {{128, 128, 256}, 2, 1020, 766, 638, 1, 510, 638, 1020},
    {{129, 129, 129}, 4, 2044, 1282, 898, 4, 1532, 2044, 2044},
    {{1000, 1000, 1000}, 64, 88448, 72446, 64382, 64, 80256, 88448, 88448},
    {{12544, 64, 147}, 2, 25852, 25598, 25470, 98, 39298, 51842, 87416},
    {{784, 512, 128}, 4, 4664, 3902, 3518, 28, 10696, 14280, 6258},
    {{49, 512, 4608}, 144, 62064, 25742, 18735, 4, 19448, 19960, 32184},
    {{1568, 512, 4608}, 144, 280800, 244478, 226174, 52, 252824, 259480, 418392},
    {{4608, 512, 196}, 8, 39920, 38142, 37246, 144, 64800, 83232, 64368},
    {{1, 1000, 2048}, 128, 49024, 16766, 16639, 8, 18416, 19440, 22112},
};

TEST_CASE("systolic: worked examples on 128 x 128, SCALE-Sim's own counts among them") {
  const ArrayShape array{128, 128, 0};
  for (const Row& row : kWorked) {
    CAPTURE(row.p.m);
    CAPTURE(row.p.n);
    CAPTURE(row.p.k);
    const auto cycles = [&](ArrayDataflow d, Model model) {
      return closed_form(row.p, array, d, model).cycles;
    };
    EXPECT(closed_form(row.p, array, ws, Model::none).folds == row.ws_folds);
    EXPECT(cycles(ws, Model::none) == row.ws_none);
    EXPECT(cycles(ws, Model::scalesim) == row.ws_none);
    EXPECT(cycles(ws, Model::drain) == row.ws_drain);
    EXPECT(cycles(ws, Model::double_buffer) == row.ws_double);
    EXPECT(closed_form(row.p, array, os, Model::none).folds == row.os_folds);
    EXPECT(cycles(os, Model::scalesim) == row.os_scalesim);
    EXPECT(cycles(os, Model::none) == row.os_none);
    EXPECT(cycles(is, Model::none) == row.is_none);
    EXPECT(cycles(is, Model::scalesim) == row.is_none);
  }
  // 49 * 512 * 4608 / (18735 * 128 * 128) = 0.3766
  const GemmCycles late = closed_form({49, 512, 4608}, array, ws, Model::double_buffer);
  EXPECT(std::abs(late.utilization() - 0.3766) < 5e-5);
  EXPECT(late.mapping_efficiency() == 1);
  // 147 rows in 2 folds of 128, 64 columns of 128
  const GemmCycles first = closed_form({12544, 64, 147}, array, ws, Model::double_buffer);
  EXPECT(first.mapping_efficiency() == 147 * 64 / (2 * 128 * 128.0));
}

TEST_CASE("systolic: a whole network, the forward pass of ResNet-50 at sub-batch 1 and 32") {
  // Distinct convolutions of ResNet-50 and its last layer, for one image: how often, output pixels, K, N.
  struct Layer {
    int64_t times, pixels, k, n;
  };
  const Layer layers[] = {
      {1, 12544, 147, 64}, {1, 3136, 64, 64},   {3, 3136, 576, 64},  {4, 3136, 64, 256},  {2, 3136, 256, 64},
      {1, 3136, 256, 128}, {1, 784, 1152, 128}, {1, 784, 256, 512},  {4, 784, 128, 512},  {3, 784, 512, 128},
      {3, 784, 1152, 128}, {1, 784, 512, 256},  {1, 196, 2304, 256}, {1, 196, 512, 1024}, {6, 196, 256, 1024},
      {5, 196, 1024, 256}, {5, 196, 2304, 256}, {1, 196, 1024, 512}, {1, 49, 4608, 512},  {1, 49, 1024, 2048},
      {3, 49, 512, 2048},  {2, 49, 2048, 512},  {2, 49, 4608, 512},  {1, 1, 2048, 1000},
  };
  const auto total = [&](int64_t images, Model model) {
    GemmCycles sum;
    for (const Layer& layer : layers)
      for (int64_t i = 0; i < layer.times; ++i)
        sum += gemm_cycles(images * layer.pixels, layer.n, layer.k, {128, 128, 0}, ws, model);
    return sum;
  };
  EXPECT(total(1, Model::none).cycles == 916544);
  EXPECT(total(1, Model::drain).cycles == 529956);
  EXPECT(total(1, Model::double_buffer).cycles == 420078);
  EXPECT(total(32, Model::none).cycles == 10666416);
  EXPECT(total(32, Model::drain).cycles == 10279828);
  EXPECT(total(32, Model::double_buffer).cycles == 10097204);
  EXPECT(std::abs(total(1, Model::double_buffer).utilization() - 0.594) < 5e-4);
}

/// A random number from 1 to `most`, even on a logarithmic scale.
int64_t random_size(const Random& random, uint64_t index, double most) {
  return static_cast<int64_t>(std::pow(most, random.uniform(index)));
}

TEST_CASE("systolic: laws over random products and arrays") {
  const Random random(7, Stream::test);
  for (uint64_t i = 0; i < 20000; i += 6) {
    const Product p{random_size(random, i, 1e5), random_size(random, i + 1, 3e3),
                    random_size(random, i + 2, 1e4)};
    const ArrayShape array{random_size(random, i + 3, 300), random_size(random, i + 4, 300),
                           i % 4 == 0 ? 0 : random_size(random, i + 5, 600)};
    CAPTURE(i);
    for (const ArrayDataflow dataflow : kDataflows) {
      const GemmCycles none = closed_form(p, array, dataflow, Model::none);
      const GemmCycles drain = closed_form(p, array, dataflow, Model::drain);
      const GemmCycles twice = closed_form(p, array, dataflow, Model::double_buffer);
      const GemmCycles scalesim = closed_form(p, array, dataflow, Model::scalesim);
      for (const GemmCycles& counted : {none, drain, twice, scalesim}) {
        REQUIRE(counted.macs == p.m * p.n * p.k);
        REQUIRE(counted.cycles * array.rows * array.cols >= counted.macs);
        REQUIRE(counted.utilization() <= 1);
        REQUIRE(counted.mapping_efficiency() <= 1);
        REQUIRE(counted.utilization() <= counted.mapping_efficiency());
      }
      REQUIRE(twice.cycles <= drain.cycles);
      REQUIRE(drain.cycles <= none.cycles);
      REQUIRE(scalesim.cycles <= none.cycles);
    }
  }
}

TEST_CASE("systolic: within a stated band of a cruder rule") {
  // Sum over row tiles of ceil(N/P) ceil(K/P) w, plus 2 P: with w = rows + P it is 2 more than the exact
  // count. With w = max(rows, P) it lacks the first shift of an operand, P, and counts P for a last tile that
  // is shorter.
  const Random random(11, Stream::test);
  for (uint64_t i = 0; i < 3000; i += 3) {
    const Product p{random_size(random, i, 1e5), random_size(random, i + 1, 3e3),
                    random_size(random, i + 2, 1e4)};
    const int64_t unit = 128, tile = 256;
    const int64_t folds = ((p.n + unit - 1) / unit) * ((p.k + unit - 1) / unit);
    int64_t shifted = 2 * unit, hidden = 2 * unit;
    for (int64_t first = 0; first < p.m; first += tile) {
      const int64_t rows = std::min(tile, p.m - first);
      shifted += folds * (rows + unit);
      hidden += folds * std::max(rows, unit);
    }
    const ArrayShape array{unit, unit, tile};
    CAPTURE(i);
    REQUIRE(closed_form(p, array, ws, Model::drain).cycles == shifted - 2);
    const int64_t more = closed_form(p, array, ws, Model::double_buffer).cycles - hidden;
    REQUIRE(more >= -1);
    REQUIRE(more <= unit - 2);
  }
}

TEST_CASE("systolic: accesses and buffer bytes of a product, by hand") {
  // 5 x 7 x 9 on 4 x 3: 3 folds of k or 2 of m across the rows, 3 of n or 2 of m across the columns.
  const auto expect = [](const GemmAccesses& x, int64_t a, int64_t b, int64_t sums) {
    EXPECT(x.a_reads == a);
    EXPECT(x.b_reads == b);
    EXPECT(x.partial_sums == sums);
    EXPECT(x.results == 5 * 7);
  };
  expect(gemm_accesses(5, 7, 9, {4, 3, 0}, ws), 5 * 9 * 3, 9 * 7, 5 * 7 * 3);
  expect(gemm_accesses(5, 7, 9, {4, 3, 2}, ws), 5 * 9 * 3, 9 * 7 * 3, 5 * 7 * 3);  // 3 row tiles of 2
  expect(gemm_accesses(5, 7, 9, {4, 3, 0}, os), 5 * 9 * 3, 9 * 7 * 2, 5 * 7);
  expect(gemm_accesses(5, 7, 9, {4, 3, 0}, is), 5 * 9, 9 * 7 * 2, 5 * 7 * 3);
  expect(gemm_accesses(5, 7, 9, {4, 3, 4}, is), 5 * 9 * 2, 9 * 7 * 2, 5 * 7 * 3);  // 2 tiles of 4 columns

  const GemmBufferBytes bytes = gemm_buffer_bytes(5, 7, 9, {4, 3, 2});
  EXPECT(bytes.global_buffer == 2 * (5 * 9 * 3 + 9 * 7 * 3 + 5 * 7));
  EXPECT(bytes.local_buffers == 4 * (5 * 9 * 3 + 9 * 7 * 3));  // 2 bytes in, 2 bytes out
  EXPECT(bytes.accumulators == 8 * (5 * 7 * 3));               // 4 bytes in, 4 bytes out, 3 folds of k
}

/// The least elements that a product moves over all tilings that fit a buffer, for every operand held still:
/// an operand is fetched once per iteration of every loop outside of the innermost one that indexes it; the
/// first pass over a result writes without reading.
int64_t best_tiling(const Product& p, int64_t buffer) {
  int64_t best = INT64_MAX;
  for (int64_t tm = 1; tm <= p.m; ++tm)
    for (int64_t tn = 1; tn <= p.n; ++tn)
      for (int64_t tk = 1; tk <= p.k; ++tk) {
        if (tm * tk + tk * tn + tm * tn > buffer) continue;
        const int64_t rows = (p.m + tm - 1) / tm, cols = (p.n + tn - 1) / tn, depth = (p.k + tk - 1) / tk;
        const int64_t a = p.m * p.k, b = p.k * p.n, c = p.m * p.n;
        best = std::min({best, a * cols + b * rows + c, a * cols + b + c * (2 * depth - 1),
                         a + b * rows + c * (2 * depth - 1)});
      }
  return best;
}

TEST_CASE("systolic: no tiling moves less than the lower bound, and a large buffer attains it") {
  for (const Product& p : {Product{7, 11, 13}, Product{1, 12, 17}, Product{16, 16, 16}, Product{23, 5, 9}}) {
    const int64_t everything = p.m * p.k + p.k * p.n + p.m * p.n;
    for (int64_t buffer = 3; buffer <= everything; buffer += 1 + buffer / 9)
      EXPECT(best_tiling(p, buffer) >= gemm_lower_bound(p.m, p.n, p.k, buffer).elems());
    EXPECT(best_tiling(p, everything) == gemm_lower_bound(p.m, p.n, p.k, everything).elems());
  }
  // 2 * 64^3 / sqrt(256) - 2 * 256 = 32256 is above 3 * 64^2 = 12288; with a buffer of 4096 it is 0.
  EXPECT(gemm_lower_bound(64, 64, 64, 256).elems() == 32256);
  EXPECT(gemm_lower_bound(64, 64, 64, 256).compulsory == 12288);
  EXPECT(gemm_lower_bound(64, 64, 64, 4096).capacity == 0);
  EXPECT(gemm_lower_bound(64, 64, 64, 4096).elems() == 12288);
}

}  // namespace
}  // namespace mbs
