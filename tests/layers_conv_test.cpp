// Convolution kernels of both sets, on every instruction set of this machine, against the definition.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "layers/kernels/conv.h"
#include "layers/kernels/conv_simd.h"
#include "layers/kernels/conv_winograd.h"
#include "layers/kernels/targets.h"
#include "tests/conv_cases.h"
#include "tests/reference/naive_conv.h"

namespace mbs {
namespace {

constexpr real kGuard = 12345;

/// 3x3 convolutions with stride 1: every padding, tiles that end inside and outside of the image, one tile,
/// more tiles than are worked on at a time, one and several vectors of channels.
std::vector<ConvCase> winograd_cases() {
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

enum class Direction { forward, data, weight };

/// Runs one direction over consecutive chunks of samples, with NaN in the scratch space and in what must be
/// assigned. Without `add` a data gradient is assigned. Nothing may be written behind the output or the
/// scratch space.
Values run(const ConvShape& s, const ConvKernels& kernels, Direction direction, bool add,
           const ConvInputs& in, const std::vector<int>& chunks) {
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

/// What the reference makes of the inputs.
struct Expected {
  std::vector<double> y, dx, dw;
};
Expected by_definition(const ConvCase& c, int samples, const ConvInputs& in) {
  const ConvShape& s = c.shape;
  const real* bias = c.has_bias ? in.bias.data() : nullptr;
  return {reference::conv_forward(s, samples, in.x.data(), in.w.data(), bias).values,
          reference::conv_data_gradient(s, samples, in.dy.data(), in.w.data()).values,
          reference::conv_weight_gradient(s, samples, in.x.data(), in.dy.data()).values};
}

}  // namespace

TEST_CASE("convolution kernels compute what the definition says") {
  for (const ConvCase& c : conv_cases()) {
    CAPTURE(c.text);
    const ConvShape& s = c.shape;
    const int samples = s.in.elems() > 10000 ? 1 : 3;
    const ConvInputs in = make_inputs(c, samples);
    const int64_t k = s.taps() * s.in.c, dx_k = s.taps() * s.out.c, dw_k = samples * s.out.pixels();
    const auto [y, dx, dw] = by_definition(c, samples, in);
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
  for (const ConvCase& c : winograd_cases()) {
    CAPTURE(c.text);
    const ConvShape& s = c.shape;
    REQUIRE(winograd_fits(s));
    const int samples = 3;
    const ConvInputs in = make_inputs(c, samples);
    const auto [y, dx, dw] = by_definition(c, samples, in);
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
  const ConvCase c = make_case("conv2d out=5 kernel=3 pad=1", {6, 7, 9});
  const ConvInputs in = make_inputs(c, 2);
  const int64_t k = 9 * 9;  // taps x c_in
  const std::vector<double> y = reference::conv_forward(c.shape, 2, in.x.data(), in.w.data(), nullptr).values;
  Values got = run(c.shape, kDirectConv, Direction::forward, false, in, {2});
  const real right = got[123];
  for (const real wrong :
       {right * (1 + 100 * std::numeric_limits<real>::epsilon()) + real(1e-2), kNan, real{0}}) {
    got[123] = wrong;
    EXPECT(!(scaled_error(got, y, k) < kScaledTolerance));
    EXPECT(!(relative_error(got, y) < kWinogradTolerance));
  }
}

namespace {

void expect_same_bits_when_split(const ConvCase& c, const Named& set) {
  CAPTURE(c.text);
  CAPTURE(set.name);
  const int samples = c.shape.in.elems() > 10000 ? 3 : 11;  // more than one tile of samples
  const ConvInputs in = make_inputs(c, samples);
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

void expect_same_bits_in_any_width(const ConvCase& c, const Named& set) {
  CAPTURE(c.text);
  CAPTURE(set.name);
  const ConvInputs in = make_inputs(c, 2);
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
  for (const ConvCase& c : conv_cases())
    for (const Named& set : kSets) expect_same_bits_when_split(c, set);
  for (const ConvCase& c : winograd_cases())
    for (const Named& set : kWinogradSets) expect_same_bits_when_split(c, set);
}

TEST_CASE("our kernels give the same bits with vectors of any width") {
  for (const ConvCase& c : conv_cases()) expect_same_bits_in_any_width(c, kSets[0]);
  for (const ConvCase& c : winograd_cases())
    for (const Named& set : kWinogradSets) expect_same_bits_in_any_width(c, set);
}

}  // namespace mbs
