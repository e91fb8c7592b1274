#include "wavecore/systolic.h"

#include <algorithm>
#include <cmath>

#include "engine/check.h"

namespace mbs {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A product as the array sees it: what lies across its rows and columns, and what streams.
struct Mapping {
  int64_t across_rows, across_cols, streamed;
  int64_t tile;  // streamed elements of a fold; the last tile may be shorter
};

Mapping map_gemm(int64_t m, int64_t n, int64_t k, const ArrayShape& array, ArrayDataflow dataflow) {
  CHECK(m > 0 && n > 0 && k > 0, "a product of {} x {} x {}", m, n, k);
  CHECK(array.rows > 0 && array.cols > 0 && array.tile_rows >= 0, "an array of {} x {}, row tiles of {}",
        array.rows, array.cols, array.tile_rows);
  const auto tile = [&](int64_t streamed) {
    return array.tile_rows > 0 ? std::min(array.tile_rows, streamed) : streamed;
  };
  switch (dataflow) {
    case ArrayDataflow::ws:
      return {k, n, m, tile(m)};
    case ArrayDataflow::is:
      return {k, m, n, tile(n)};
    case ArrayDataflow::os:
      break;
  }
  return {m, n, k, k};
}

}  // namespace

double GemmCycles::utilization() const {
  return static_cast<double>(macs) / (static_cast<double>(cycles) * static_cast<double>(units));
}

double GemmCycles::mapping_efficiency() const {
  return static_cast<double>(mapped_units) / (static_cast<double>(folds) * static_cast<double>(units));
}

GemmCycles& GemmCycles::operator+=(const GemmCycles& other) {
  CHECK(units == 0 || units == other.units, "cycles of arrays of {} and {} units", units, other.units);
  folds += other.folds;
  cycles += other.cycles;
  macs += other.macs;
  mapped_units += other.mapped_units;
  units = other.units;
  return *this;
}

GemmCycles gemm_cycles(int64_t m, int64_t n, int64_t k, const ArrayShape& array, ArrayDataflow dataflow,
                       CycleModel model) {
  const Mapping map = map_gemm(m, n, k, array, dataflow);
  const int64_t R = array.rows, C = array.cols;
  const int64_t skew = R + C - 2;  // from the first unit to the one in the far corner
  // The way of an operand into the array, or of results out of it, that no fold can hide.
  const int64_t shift = dataflow == ArrayDataflow::os && model == CycleModel::scalesim ? 0 : R;
  const auto step = [&](int64_t streamed) {
    switch (model) {
      case CycleModel::drain:
        return streamed + shift;
      case CycleModel::double_buffer:
        return std::max(streamed, shift);
      case CycleModel::none:
      case CycleModel::scalesim:
        break;
    }
    return shift + streamed + skew;
  };
  const int64_t folds = ceil_div(map.across_rows, R) * ceil_div(map.across_cols, C);  // of a row tile
  const int64_t full_tiles = (map.streamed - 1) / map.tile;                           // before the last one
  const int64_t last = map.streamed - full_tiles * map.tile;
  GemmCycles result;
  result.folds = folds * (full_tiles + 1);
  result.cycles = shift + folds * full_tiles * step(map.tile) + (folds - 1) * step(last) + last + skew;
  result.macs = m * n * k;
  result.mapped_units = map.across_rows * map.across_cols * (full_tiles + 1);
  result.units = R * C;
  return result;
}

GemmAccesses gemm_accesses(int64_t m, int64_t n, int64_t k, const ArrayShape& array, ArrayDataflow dataflow) {
  const Mapping map = map_gemm(m, n, k, array, dataflow);
  const int64_t row_folds = ceil_div(map.across_rows, array.rows);
  const int64_t col_folds = ceil_div(map.across_cols, array.cols);
  const int64_t tiles = ceil_div(map.streamed, map.tile);
  switch (dataflow) {
    case ArrayDataflow::ws:
      return {m * k * col_folds, k * n * tiles, m * n * row_folds, m * n};
    case ArrayDataflow::is:
      return {m * k * tiles, k * n * col_folds, m * n * row_folds, m * n};
    case ArrayDataflow::os:
      break;
  }
  return {m * k * col_folds, k * n * row_folds, m * n, m * n};
}

GemmBufferBytes gemm_buffer_bytes(int64_t m, int64_t n, int64_t k, const ArrayShape& array,
                                  ArrayDataflow dataflow) {
  constexpr int64_t kIntoAndOutOf = 2;
  const GemmAccesses accesses = gemm_accesses(m, n, k, array, dataflow);
  const int64_t operands = accesses.a_reads + accesses.b_reads;
  return {kOperandBytes * (operands + accesses.results), kIntoAndOutOf * kOperandBytes * operands,
          kIntoAndOutOf * kSumBytes * accesses.partial_sums};
}

GemmLowerBound gemm_lower_bound(int64_t m, int64_t n, int64_t k, int64_t buffer_elems) {
  CHECK(m > 0 && n > 0 && k > 0 && buffer_elems > 0, "the bound of {} x {} x {} with a buffer of {}", m, n, k,
        buffer_elems);
  const auto size = static_cast<double>(buffer_elems);
  const double macs = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  const double capacity = std::ceil(2 * macs / std::sqrt(size) - 2 * size);
  return {m * k + k * n + m * n, capacity > 0 ? static_cast<int64_t>(capacity) : 0};
}

}  // namespace mbs
