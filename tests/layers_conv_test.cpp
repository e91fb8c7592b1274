// Convolution kernels of both sets, on every instruction set of this machine, against the definition.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "engine/check.h"
#include "engine/gemm.h"
#include "engine/network.h"
#include "engine/random.h"
#include "layers/kernels/conv.h"
#include "layers/kernels/conv_simd.h"
#include "layers/kernels/conv_winograd.h"
#include "layers/kernels/kernel_set.h"
#include "layers/kernels/targets.h"
#include "layers/registry.h"
#include "tests/doctest.h"
#include "tests/reference/naive_conv.h"

namespace mbs {
namespace {

using Values = std::vector<real>;
constexpr real kNan = std::numeric_limits<real>::quiet_NaN();
constexpr real kGuard = 12345;

struct Case {
  std::string text;
  std::shared_ptr<const Layer> layer;
  ConvShape shape;
  bool has_bias;
};

Case make_case(const std::string& spec_text, const Shape& in) {
  Case c{spec_text, make_layer(spec_text, std::span(&in, 1)), {}, false};
  const Spec spec = Spec::parse(spec_text);
  c.shape = {in, c.layer->out_shape(), spec.required_extent("kernel"), spec.extent_or("stride", {1, 1}),
             spec.extent_or("pad", {0, 0})};
  c.has_bias = spec.int_or("bias", 0) != 0;
  return c;
}

/// The layer's own examples, and shapes that reach every width of panel and more than one tile.
std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const LayerEntry* entry : layer_registry()) {
    if (entry->name != "conv2d") continue;
    for (const std::string& text : entry->examples) {
      const LayerExample example = parse_example(*entry, text);
      cases.push_back(make_case(example.spec, example.shapes[0]));
    }
  }
  cases.push_back(
      make_case("conv2d out=70 kernel=3 pad=1", {3, 29, 3}));  // rows of 29: several blocks of pixels
  cases.push_back(
      make_case("conv2d out=64 kernel=3 pad=1", {4, 4, 34}));  // rows of 4: blocks of several rows
  cases.push_back(make_case("conv2d out=50 kernel=1 bias=1", {7, 9, 37}));
  cases.push_back(make_case("conv2d out=17 kernel=5 stride=3 pad=4", {11, 8, 6}));
  cases.push_back(
      make_case("conv2d out=3 kernel=3 stride=2 pad=1", {37, 200, 19}));   // bands of rows, one sample a tile
  cases.push_back(make_case("conv2d out=16 kernel=3 pad=1", {1, 40, 5}));  // one row
  cases.push_back(make_case("conv2d out=33 kernel=3 pad=1", {40, 1, 5}));  // one column
  cases.push_back(make_case("conv2d out=32 kernel=1", {9, 31, 5}));        // all pixels are one long row
  cases.push_back(make_case("conv2d out=9 kernel=3 stride=2 pad=1", {1, 1, 70}));
  cases.push_back(make_case("conv2d out=128 kernel=1", {3, 5, 1030}));  // patches far apart
  cases.push_back(make_case("conv2d out=160 kernel=1 stride=2", {5, 4, 1024}));
  cases.push_back(make_case("conv2d out=64 kernel=1", {8, 16, 400}));  // a whole strip of packed patches
  // Every width of a group of columns, and channels below, at and beyond those of a vector.
  for (int i = 1; i <= 16; ++i)
    cases.push_back(make_case(fmt::format("conv2d out={} kernel=3 pad=1", 5 * i - 4), {5, i, 71 - 4 * i}));
  return cases;
}

/// 3x3 convolutions with stride 1: every padding, tiles that end inside and outside of the image, one tile,
/// more tiles than are worked on at a time, one and several vectors of channels.
std::vector<Case> winograd_cases() {
  return {make_case("conv2d out=16 kernel=3", {7, 9, 16}),
          make_case("conv2d out=32 kernel=3 pad=1 bias=1", {8, 8, 16}),
          make_case("conv2d out=48 kernel=3 pad=2", {6, 5, 32}),
          make_case("conv2d out=16 kernel=3 pad=0x2", {4, 1, 48}),
          make_case("conv2d out=80 kernel=3 pad=1", {1, 1, 16}),
          make_case("conv2d out=16 kernel=3 pad=1 bias=1", {2, 2, 64}),
          make_case("conv2d out=64 kernel=3 pad=1", {25, 34, 16})};
}

struct Named {
  const char* name;
  const ConvKernels* kernels;
};
constexpr Named kSets[] = {{"direct", &kDirectConv}, {"gemm", &kGemmConv}};
constexpr Named kWinogradSets[] = {{"F(2x2, 3x3)", &kWinogradConv2}, {"F(4x4, 3x3)", &kWinogradConv4}};

/// Uniform in [-1, 1).
Values noise(int64_t elems, uint64_t key) {
  Values v(static_cast<size_t>(elems));
  const Random random(key, Stream::test);
  for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<real>(2 * random.uniform(i) - 1);
  return v;
}

struct Inputs {
  int samples;
  Values x, w, bias, dy, old_dx, old_dw;
};

Inputs make_inputs(const Case& c, int samples) {
  const ConvShape& s = c.shape;
  return {samples,
          noise(samples * s.in.elems(), 1),
          noise(s.weight_elems(), 2),
          c.has_bias ? noise(s.out.c, 3) : Values(),
          noise(samples * s.out.elems(), 4),
          noise(samples * s.in.elems(), 5),
          noise(s.weight_elems(), 6)};
}

enum class Direction { forward, data, weight };

/// Runs one direction over consecutive chunks of samples, with NaN in the scratch space and in what must be
/// assigned. Without `add` a data gradient is assigned. Nothing may be written behind the output or the
/// scratch space.
Values run(const ConvShape& s, const ConvKernels& kernels, Direction direction, bool add, const Inputs& in,
           const std::vector<int>& chunks) {
  const ConvKernel& one_pass = direction == Direction::forward ? kernels.forward : kernels.data_gradient;
  const ConvWeightGradient& gradient = kernels.weight_gradient;
  const bool weight = direction == Direction::weight;
  Values out =
      direction == Direction::weight ? in.old_dw
      : add                          ? in.old_dx
            : Values(static_cast<size_t>(in.samples * (direction == Direction::data ? s.in : s.out).elems()),
                     kNan);
  const size_t out_elems = out.size(),
               scratch_elems =
                   static_cast<size_t>(weight ? gradient.scratch_elems(s) : one_pass.scratch_elems(s));
  out.push_back(kGuard);
  Values prepared, accumulator;
  if (!weight && one_pass.prepare != nullptr) {
    prepared.assign(static_cast<size_t>(one_pass.prepared_elems(s)), kNan);
    prepared.push_back(kGuard);
    one_pass.prepare(s, in.w.data(), prepared.data());
    EXPECT(prepared.back() == kGuard);
  }
  if (weight && gradient.finish != nullptr) {
    accumulator.assign(static_cast<size_t>(gradient.accumulator_elems(s)), real{0});
    accumulator.push_back(kGuard);
  }
  int first = 0;
  for (const int count : chunks) {
    Values scratch(scratch_elems, kNan);
    scratch.push_back(kGuard);
    ConvArgs a;
    a.samples = count;
    a.x = in.x.data() + first * s.in.elems();
    a.w = in.w.data();
    a.prepared = prepared.data();
    a.bias = in.bias.empty() ? nullptr : in.bias.data();
    a.dy = in.dy.data() + first * s.out.elems();
    a.out = !accumulator.empty() ? accumulator.data()
                                 : out.data() + (weight                         ? 0
                                                 : direction == Direction::data ? first * s.in.elems()
                                                                                : first * s.out.elems());
    a.add = add;
    a.scratch = scratch.data();
    (weight ? gradient.run : one_pass.run)(s, a);
    EXPECT(scratch.back() == kGuard);
    first += count;
  }
  if (!accumulator.empty()) {
    EXPECT(accumulator.back() == kGuard);
    gradient.finish(s, accumulator.data(), out.data());
    // The next step starts from zeros.
    EXPECT(std::all_of(accumulator.begin(), accumulator.end() - 1, [](real v) { return v == 0; }));
  }
  EXPECT(out.back() == kGuard);
  out.resize(out_elems);
  return out;
}

/// The largest |a - b| over eps * sqrt(k) * root mean square of b: below 4 where both are the same sums of k
/// products. NaN where a value is.
double scaled_error(const Values& a, const std::vector<double>& b, int64_t k) {
  double square_sum = 0, worst = 0;
  for (const double v : b) square_sum += v * v;
  const double unit = std::numeric_limits<real>::epsilon() * std::sqrt(static_cast<double>(k)) *
                      std::sqrt(square_sum / static_cast<double>(b.size()));
  for (size_t i = 0; i < b.size(); ++i) {
    const double error = std::abs(a[i] - b[i]) / unit;
    if (!(error <= worst)) worst = error;
    if (std::isnan(error)) return error;
  }
  return worst;
}
constexpr double kTolerance = 4;

/// The largest |a - b| over the largest |b|. NaN where a value is.
double relative_error(const Values& a, const std::vector<double>& b) {
  double worst = 0, largest = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    largest = std::max(largest, std::abs(b[i]));
    const double error = std::abs(a[i] - b[i]);
    if (!(error <= worst)) worst = error;
    if (std::isnan(error)) return error;
  }
  return worst / largest;
}
constexpr double kWinogradTolerance = sizeof(real) == 4 ? 1e-4 : 1e-12;

bool same_bits(const Values& a, const Values& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(real)) == 0;
}

std::vector<double> sum(std::vector<double> a, const Values& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

/// Calls body(name) once for each instruction set that is compiled in and that this machine has.
template <class Body>
void for_each_target(Body&& body) {
  for (const int64_t target : {HWY_AVX3, HWY_AVX2, HWY_NEON, HWY_EMU128, HWY_SCALAR}) {
    if ((hwy::SupportedTargets() & HWY_TARGETS & target) == 0) continue;
    hwy::SetSupportedTargetsForTest(target);
    body(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(0);
  }
}

void expect_close(const Values& got, const std::vector<double>& expected, int64_t k) {
  EXPECT(got.size() == expected.size());
  EXPECT(scaled_error(got, expected, k) < kTolerance);
}

}  // namespace

TEST_CASE("convolution kernels compute what the definition says") {
  for (const Case& c : all_cases()) {
    CAPTURE(c.text);
    const ConvShape& s = c.shape;
    const int samples = s.in.elems() > 10000 ? 1 : 3;
    const Inputs in = make_inputs(c, samples);
    const int64_t k = s.taps() * s.in.c, dx_k = s.taps() * s.out.c, dw_k = samples * s.out.pixels();
    const std::vector<double> y =
        reference::conv_forward(s, samples, in.x.data(), in.w.data(), c.has_bias ? in.bias.data() : nullptr)
            .values;
    const std::vector<double> dx =
        reference::conv_data_gradient(s, samples, in.dy.data(), in.w.data()).values;
    const std::vector<double> dw =
        reference::conv_weight_gradient(s, samples, in.x.data(), in.dy.data()).values;
    for_each_target([&](const char* target) {
      CAPTURE(target);
      for (const Named& set : kSets) {
        CAPTURE(set.name);
        expect_close(run(s, *set.kernels, Direction::forward, false, in, {samples}), y, k);
        expect_close(run(s, *set.kernels, Direction::data, false, in, {samples}), dx, dx_k);
        expect_close(run(s, *set.kernels, Direction::data, true, in, {samples}), sum(dx, in.old_dx), dx_k);
        expect_close(run(s, *set.kernels, Direction::weight, false, in, {samples}), sum(dw, in.old_dw), dw_k);
      }
    });
  }
}

TEST_CASE("Winograd kernels err by less than 1e-4 of the largest value") {
  for (const Case& c : winograd_cases()) {
    CAPTURE(c.text);
    const ConvShape& s = c.shape;
    REQUIRE(winograd_fits(s));
    const int samples = 3;
    const Inputs in = make_inputs(c, samples);
    const std::vector<double> y =
        reference::conv_forward(s, samples, in.x.data(), in.w.data(), c.has_bias ? in.bias.data() : nullptr)
            .values;
    const std::vector<double> dx =
        reference::conv_data_gradient(s, samples, in.dy.data(), in.w.data()).values;
    const std::vector<double> dw =
        reference::conv_weight_gradient(s, samples, in.x.data(), in.dy.data()).values;
    for_each_target([&](const char* target) {
      CAPTURE(target);
      for (const Named& set : kWinogradSets) {
        CAPTURE(set.name);
        const auto error = [&](Direction direction, bool add, const std::vector<double>& expected) {
          return relative_error(run(s, *set.kernels, direction, add, in, {samples}), expected);
        };
        EXPECT(error(Direction::forward, false, y) < kWinogradTolerance);
        EXPECT(error(Direction::data, false, dx) < kWinogradTolerance);
        EXPECT(error(Direction::data, true, sum(dx, in.old_dx)) < kWinogradTolerance);
        EXPECT(error(Direction::weight, false, sum(dw, in.old_dw)) < kWinogradTolerance);
      }
    });
  }
}

TEST_CASE("Winograd fits 3x3 convolutions of whole vectors with stride 1 only") {
  const auto fits = [](const std::string& spec, const Shape& in) {
    return winograd_fits(make_case(spec, in).shape);
  };
  EXPECT(fits("conv2d out=16 kernel=3 pad=1", {8, 8, 32}));
  EXPECT(!fits("conv2d out=16 kernel=3 pad=1", {8, 8, 24}));
  EXPECT(!fits("conv2d out=8 kernel=3 pad=1", {8, 8, 16}));
  EXPECT(!fits("conv2d out=16 kernel=3 pad=1 stride=2", {8, 8, 16}));
  EXPECT(!fits("conv2d out=16 kernel=3 pad=3", {8, 8, 16}));
  EXPECT(!fits("conv2d out=16 kernel=3x1 pad=1x0", {8, 8, 16}));
}

TEST_CASE("the comparison of kernels sees a planted fault") {
  const Case c = make_case("conv2d out=5 kernel=3 pad=1", {6, 7, 9});
  const Inputs in = make_inputs(c, 2);
  const int64_t k = 9 * 9;  // taps x c_in
  const std::vector<double> y = reference::conv_forward(c.shape, 2, in.x.data(), in.w.data(), nullptr).values;
  Values got = run(c.shape, kDirectConv, Direction::forward, false, in, {2});
  const real right = got[123];
  for (const real wrong :
       {right * (1 + 100 * std::numeric_limits<real>::epsilon()) + real(1e-2), kNan, real{0}}) {
    got[123] = wrong;
    EXPECT(!(scaled_error(got, y, k) < kTolerance));
    EXPECT(!(relative_error(got, y) < kWinogradTolerance));
  }
}

namespace {

void expect_same_bits_when_split(const Case& c, const Named& set) {
  CAPTURE(c.text);
  CAPTURE(set.name);
  const int samples = c.shape.in.elems() > 10000 ? 3 : 11;  // more than one tile of samples
  const Inputs in = make_inputs(c, samples);
  const std::vector<std::vector<int>> splits = {{samples / 3, samples - samples / 3},
                                                std::vector<int>(static_cast<size_t>(samples), 1)};
  for (const Direction direction : {Direction::forward, Direction::data, Direction::weight})
    for (const bool add : {false, true}) {
      if (add && direction != Direction::data) continue;
      CAPTURE(static_cast<int>(direction));
      const Values whole = run(c.shape, *set.kernels, direction, add, in, {samples});
      for (const std::vector<int>& split : splits)
        EXPECT(same_bits(whole, run(c.shape, *set.kernels, direction, add, in, split)));
    }
}

void expect_same_bits_in_any_width(const Case& c, const Named& set) {
  CAPTURE(c.text);
  CAPTURE(set.name);
  const Inputs in = make_inputs(c, 2);
  for (const Direction direction : {Direction::forward, Direction::data, Direction::weight}) {
    Values first;
    for_each_target([&](const std::string& target) {
      if (target == hwy::TargetName(HWY_STATIC_TARGET)) return;  // may lack a fused multiply-add
      const Values got = run(c.shape, *set.kernels, direction, false, in, {2});
      if (first.empty()) first = got;
      EXPECT(same_bits(first, got));
    });
  }
}

}  // namespace

TEST_CASE("convolution kernels give the same bits for any split of the samples") {
  for (const Case& c : all_cases())
    for (const Named& set : kSets) expect_same_bits_when_split(c, set);
  for (const Case& c : winograd_cases())
    for (const Named& set : kWinogradSets) expect_same_bits_when_split(c, set);
}

TEST_CASE("our kernels give the same bits with vectors of any width") {
  for (const Case& c : all_cases()) expect_same_bits_in_any_width(c, kSets[0]);
  for (const Case& c : winograd_cases())
    for (const Named& set : kWinogradSets) expect_same_bits_in_any_width(c, set);
}

TEST_CASE("conv2d declares the multiply-accumulates of the definition") {
  for (const Case& c : all_cases()) {
    CAPTURE(c.text);
    const ConvShape& s = c.shape;
    if (s.in.elems() > 10000) continue;
    const int samples = 3;
    const Inputs in = make_inputs(c, samples);
    const std::vector<GemmShape> forward = c.layer->gemms(Phase::forward, samples, true);
    const std::vector<GemmShape> backward = c.layer->gemms(Phase::backward, samples, true);
    REQUIRE(forward.size() == 1);
    REQUIRE(backward.size() == 2);
    EXPECT(forward[0].macs() == reference::conv_forward(s, samples, in.x.data(), in.w.data(), nullptr).macs);
    EXPECT(backward[0].macs() == reference::conv_data_gradient(s, samples, in.dy.data(), in.w.data()).macs);
    EXPECT(backward[1].macs() == reference::conv_weight_gradient(s, samples, in.x.data(), in.dy.data()).macs);
    EXPECT(c.layer->gemms(Phase::backward, samples, false) == std::vector<GemmShape>{backward[1]});
  }
}

TEST_CASE("conv2d: output sizes, parameters and needs") {
  const Case stem = make_case("conv2d out=64 kernel=7 stride=2 pad=3", {224, 224, 3});
  EXPECT(stem.layer->out_shape() == Shape{112, 112, 64});  // (224 + 2 * 3 - 7) / 2 + 1, rounded down
  REQUIRE(stem.layer->params().size() == 1);
  EXPECT(stem.layer->params()[0].dims == std::vector<int>{7, 7, 3, 64});
  EXPECT(stem.layer->params()[0].fan == 7 * 7 * 64);
  EXPECT(stem.layer->needs(false).gradient_sweeps == 1);
  EXPECT(stem.layer->needs(true).gradient_sweeps == 2);  // the data gradient and the weight gradient read dy
  EXPECT(stem.layer->needs(true).x);
  EXPECT(make_case("conv2d out=3 kernel=1 bias=1", {2, 2, 5}).layer->params()[1].dims == std::vector<int>{3});
}

TEST_CASE("conv2d refuses what cannot be") {
  const auto message = [](const std::string& spec, std::vector<Shape> in) -> std::string {
    try {
      make_layer(spec, in);
    } catch (const Error& error) {
      EXPECT(error.kind() == ErrorKind::usage);
      return error.what();
    }
    return "";
  };
  EXPECT(message("conv2d out=3 kernel=5", {{4, 9, 2}}).find("conv2d out=3 kernel=5") != std::string::npos);
  EXPECT(message("conv2d kernel=3", {{4, 9, 2}}).find("out") != std::string::npos);
  EXPECT(message("conv2d out=3 kernel=3 stride=0", {{4, 9, 2}}).find("stride") != std::string::npos);
  EXPECT(message("conv2d out=3 kernel=3 dilation=2", {{4, 9, 2}}).find("dilation") != std::string::npos);
  EXPECT(!message("conv2d out=3 kernel=1", {{4, 9, 2}, {4, 9, 2}}).empty());
}

TEST_CASE("the kernel set is a setting of the process") {
  EXPECT(kernel_set() == KernelSet::automatic);
  const ConvShape shape = make_case("conv2d out=5 kernel=3", {6, 7, 9}).shape;
  set_kernel_set(KernelSet::gemm);
  EXPECT((choose_conv_kernels(shape).forward.run == kGemmConv.forward.run));
  const ConvShape fitting = make_case("conv2d out=16 kernel=3 pad=1", {6, 7, 16}).shape;
  set_kernel_set(KernelSet::direct);
  EXPECT((choose_conv_kernels(shape).forward.run == kDirectConv.forward.run));
  EXPECT((choose_conv_kernels(fitting).forward.run == kDirectConv.forward.run));
  set_kernel_set(KernelSet::winograd);
  EXPECT((choose_conv_kernels(shape).forward.run == kDirectConv.forward.run));
  EXPECT((choose_conv_kernels(fitting).forward.run == kWinogradConv4.forward.run));
  set_kernel_set(KernelSet::automatic);
  EXPECT((choose_conv_kernels(fitting).forward.run == kDirectConv.forward.run));  // 6x7 of 8x8 pixels
  const ConvShape whole = make_case("conv2d out=16 kernel=3 pad=1", {8, 12, 16}).shape;
  EXPECT((choose_conv_kernels(whole).forward.run == kWinogradConv4.forward.run));
  set_kernel_set(KernelSet::automatic);
  const ConvShape wide = make_case("conv2d out=3 kernel=1", {2, 2, 1024}).shape;
  EXPECT((choose_conv_kernels(wide).forward.run == kDirectConv.forward.run));
  EXPECT((choose_conv_kernels(wide).weight_gradient.run == kGemmConv.weight_gradient.run));
  for (const KernelSet set : {KernelSet::automatic, KernelSet::direct, KernelSet::winograd, KernelSet::gemm})
    EXPECT(parse_kernel_set(to_string(set)) == set);
  DOCTEST_CHECK_THROWS_AS(parse_kernel_set("fast"), Error);
}

TEST_CASE("gemm multiplies in every form, and BLAS is the OpenMP one") {
  require_openmp_blas();
  EXPECT(blas_description().find("OpenMP") != std::string::npos);
  const int64_t m = 3, n = 5, k = 7;
  const Values a = noise(m * k, 1), b = noise(k * n, 2);
  std::vector<double> expected(static_cast<size_t>(m * n), 2);  // C before: 2, kept by beta = 1
  Values at(a.size()), bt(b.size());
  for (int64_t i = 0; i < m; ++i)
    for (int64_t p = 0; p < k; ++p)
      for (int64_t j = 0; j < n; ++j) {
        const auto ik = static_cast<size_t>(i * k + p), kj = static_cast<size_t>(p * n + j);
        expected[static_cast<size_t>(i * n + j)] += double{a[ik]} * double{b[kj]};
        at[static_cast<size_t>(p * m + i)] = a[ik];
        bt[static_cast<size_t>(j * k + p)] = b[kj];
      }
  for (const Transpose ta : {Transpose::no, Transpose::yes})
    for (const Transpose tb : {Transpose::no, Transpose::yes}) {
      Values c(expected.size(), 2);
      gemm(ta, tb, m, n, k, (ta == Transpose::yes ? at : a).data(), (tb == Transpose::yes ? bt : b).data(), 1,
           c.data());
      expect_close(c, expected, k);
      Values assigned(expected.size(), kNan);
      gemm(ta, tb, m, n, k, (ta == Transpose::yes ? at : a).data(), (tb == Transpose::yes ? bt : b).data(), 0,
           assigned.data());
      for (real& v : assigned) v += 2;
      expect_close(assigned, expected, k);
    }
}

}  // namespace mbs
