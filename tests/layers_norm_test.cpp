// Normalisation against plain loops in double; its accuracy far from zero; batch norm's running statistics;
// and that instruction sets agree.

#include <hwy/targets.h>

#include <algorithm>
#include <cmath>

#include "engine/check.h"
#include "engine/random.h"
#include "tests/doctest.h"
#include "tests/layer_harness.h"

namespace mbs::testing {
namespace {

constexpr double kEps = 1e-5;
constexpr double kTolerance = sizeof(real) == sizeof(double) ? 1e-11 : 2e-5;

// y of normalising `pixels` x `channels` values in groups of adjacent channels, and dx, dgamma, dbeta by the
// chain rule through y, mean and variance one after the other (not by the closed formula that the layers
// use).
struct Naive {
  std::vector<double> y, dx, dgamma, dbeta;

  Naive(const real* x, const real* dy, const std::vector<std::vector<real>>& params, int64_t pixels,
        int channels, int groups)
      : y(static_cast<size_t>(pixels * channels)),
        dx(y),
        dgamma(static_cast<size_t>(channels)),
        dbeta(static_cast<size_t>(channels)) {
    const int group = channels / groups;
    for (int g = 0; g < groups; ++g) {
      const auto each = [&](auto&& body) {
        for (int64_t p = 0; p < pixels; ++p)
          for (int c = g * group; c < (g + 1) * group; ++c)
            body(static_cast<size_t>(p * channels + c), static_cast<size_t>(c));
      };
      const double n = static_cast<double>(pixels * group);
      double mean = 0, variance = 0, dmean = 0, dvariance = 0;
      each([&](size_t i, size_t) { mean += static_cast<double>(x[i]) / n; });
      each([&](size_t i, size_t) {
        variance += (static_cast<double>(x[i]) - mean) * (static_cast<double>(x[i]) - mean) / n;
      });
      const double rstd = 1 / std::sqrt(variance + kEps);
      each([&](size_t i, size_t c) {
        const double diff = static_cast<double>(x[i]) - mean, gamma = static_cast<double>(params[0][c]);
        const double g_y = static_cast<double>(dy[i]);
        y[i] = diff * rstd * gamma + static_cast<double>(params[1][c]);
        dgamma[c] += g_y * diff * rstd;
        dbeta[c] += g_y;
        dmean -= g_y * gamma * rstd;
        dvariance += g_y * gamma * diff * -0.5 * rstd * rstd * rstd;
      });
      each([&](size_t i, size_t c) {
        dx[i] = static_cast<double>(dy[i]) * static_cast<double>(params[0][c]) * rstd + dmean / n +
                dvariance * 2 * (static_cast<double>(x[i]) - mean) / n;
      });
    }
  }
};

// The largest error relative to 1 + the largest value; NaN counts as infinite.
double error_of(const real* a, const std::vector<double>& b) {
  double worst = 0, scale = 1;
  for (size_t i = 0; i < b.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - b[i]);
    worst = std::isnan(d) ? 1e300 : std::max(worst, d);
    scale = std::max(scale, std::abs(b[i]));
  }
  return worst / scale;
}

std::vector<real> minus(std::vector<real> a, const std::vector<real>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return a;
}

// Shifts every sample of the input by `offset`, and checks group norm of `groups` groups on sample after
// sample.
void check_group_norm(const Shape& shape, int groups, double offset) {
  const Subject subject =
      make_subject(fmt::format("group_norm groups={} | {}x{}x{}", groups, shape.h, shape.w, shape.c));
  CAPTURE(subject.text);
  CAPTURE(offset);
  Inputs in = make_inputs(*subject.layer, 1, 9);
  for (real& v : in.x[0]) v += static_cast<real>(offset);
  const Run run = run_layer(*subject.layer, in, {});
  const Naive naive(in.x[0].data(), in.dy.data(), in.params, shape.pixels(), shape.c, groups);
  EXPECT(error_of(run.y.data(), naive.y) < kTolerance);
  EXPECT(error_of(run.dx[0].data(), naive.dx) < kTolerance);
  EXPECT(error_of(minus(run.dparams[0], run.dparams_before[0]).data(), naive.dgamma) < kTolerance);
  EXPECT(error_of(minus(run.dparams[1], run.dparams_before[1]).data(), naive.dbeta) < kTolerance);
}

}  // namespace

TEST_CASE(
    "group_norm: plain loops, from one group (layer norm) to one per channel (instance norm), any channels") {
  for (int channels : {1, 3, 5, 7, 10, 16, 24, 33, 64, 130})
    for (int groups : {1, 2, 3, 5, channels})
      if (channels % groups == 0) check_group_norm({7, 11, channels}, groups, 0);
  check_group_norm({23, 29, 12}, 4, 0);
  check_group_norm({1, 5, 1030}, 103, 0);
  check_group_norm({1, 1, 6}, 3, 0);
}

TEST_CASE("group_norm: stays accurate where the mean is a thousand times the deviation") {
  for (double offset : {1000.0, -1000.0}) {
    check_group_norm({7, 11, 6}, 3, offset);
    check_group_norm({13, 17, 32}, 2, offset);
  }
}

TEST_CASE("group_norm: a block of pixels far from the others costs no accuracy") {
  const Subject subject = make_subject("group_norm groups=1 | 16x16x4");
  Inputs in = make_inputs(*subject.layer, 1, 9);
  for (size_t i = 0; i < 64 * 4; ++i) in.x[0][i] = 1000;  // constant, then values near 0
  const Run run = run_layer(*subject.layer, in, {});
  const Naive naive(in.x[0].data(), in.dy.data(), in.params, 256, 4, 1);
  EXPECT(error_of(run.y.data(), naive.y) < kTolerance);
  EXPECT(error_of(run.dx[0].data(), naive.dx) < kTolerance);
}

TEST_CASE("group_norm: rare large values, in places that the first guess of the mean sees or does not") {
  const Subject subject = make_subject("group_norm groups=3 | 16x16x24");
  for (int64_t pixel : {0, 5, 32, 255}) {  // every 32nd pixel is looked at first
    CAPTURE(pixel);
    Inputs in = make_inputs(*subject.layer, 1, 9);
    for (int64_t c = 0; c < 24; ++c) in.x[0][static_cast<size_t>(pixel * 24 + c)] = 3000;
    const Run run = run_layer(*subject.layer, in, {});
    const Naive naive(in.x[0].data(), in.dy.data(), in.params, 256, 24, 3);
    EXPECT(error_of(run.y.data(), naive.y) < kTolerance);
    EXPECT(error_of(run.dx[0].data(), naive.dx) < kTolerance);
  }
}

TEST_CASE("norms: more pixels than one block of sums or of elements, and some that are left over") {
  check_group_norm({1, 64 * 4 + 3, 16}, 4, 0);  // rows of 4 pixels, 64 to a block
  check_group_norm({67, 1, 72}, 4, 0);          // rows of one pixel
  check_group_norm({41, 1, 1100}, 11, 0);       // rows of two pixels, whose bits fill bytes
  check_group_norm({263, 2, 520}, 5, 0);        // blocks of 126 rows
}

TEST_CASE("batch_norm: normalises each channel over all samples; inference uses the running statistics") {
  const Subject subject = make_subject("batch_norm | 3x5x7");
  const Inputs in = make_inputs(*subject.layer, 4, 9);
  const Run run = run_layer(*subject.layer, in, {});
  const Naive naive(in.x[0].data(), in.dy.data(), in.params, 4 * 3 * 5, 7, 7);
  EXPECT(error_of(run.y.data(), naive.y) < kTolerance);
  EXPECT(error_of(run.dx[0].data(), naive.dx) < kTolerance);
  EXPECT(error_of(minus(run.dparams[0], run.dparams_before[0]).data(), naive.dgamma) < kTolerance);

  const Run inference = run_layer(*subject.layer, in, {.training = false, .backward = false});
  std::vector<double> wanted;
  for (size_t i = 0; i < in.x[0].size(); ++i) {
    const size_t c = i % 7;
    wanted.push_back((static_cast<double>(in.x[0][i]) - static_cast<double>(in.states[0][c])) /
                         std::sqrt(static_cast<double>(in.states[1][c]) + kEps) *
                         static_cast<double>(in.params[0][c]) +
                     static_cast<double>(in.params[1][c]));
  }
  EXPECT(error_of(inference.y.data(), wanted) < kTolerance);
}

TEST_CASE("batch_norm: running statistics, of one core and of two of unequal size") {
  const Subject subject = make_subject("batch_norm momentum=0.3 | 1x2x1");
  const Layer& layer = *subject.layer;
  Inputs a = make_inputs(layer, 2, 1), b = make_inputs(layer, 1, 1);
  a.x[0] = {1, 2, 3, 6};  // mean 3, sum of squares about it 4 + 1 + 0 + 9 = 14, over n - 1 = 3
  b.x[0] = {4, 8};        // mean 6, 4 + 4 = 8, over 1
  const Run run_a = run_layer(layer, a, {}), run_b = run_layer(layer, b, {});

  const auto update = [&](std::vector<const std::byte*> aux, std::vector<int> samples) {
    std::vector<std::vector<real>> states = {{10}, {20}};
    std::vector<real*> pointers_to = {states[0].data(), states[1].data()};
    layer.update_state(aux, samples, pointers_to);
    return std::vector<double>{static_cast<double>(states[0][0]), static_cast<double>(states[1][0])};
  };
  const auto one = update({run_a.batch_aux.data()}, {2});
  EXPECT(std::abs(one[0] - (0.7 * 10 + 0.3 * 3)) < 1e-5);
  EXPECT(std::abs(one[1] - (0.7 * 20 + 0.3 * 14 / 3)) < 1e-5);
  const auto two = update({run_a.batch_aux.data(), run_b.batch_aux.data()}, {2, 1});
  EXPECT(std::abs(two[0] - (0.7 * 10 + 0.3 * (2 * 3 + 1 * 6) / 3)) < 1e-5);
  EXPECT(std::abs(two[1] - (0.7 * 20 + 0.3 * (2 * 14.0 / 3 + 1 * 8) / 3)) < 1e-5);
}

TEST_CASE("batch_norm: a single value has no variance") {
  const Subject subject = make_subject("batch_norm | 1x1x2");
  const Inputs in = make_inputs(*subject.layer, 1, 1);
  const Run run = run_layer(*subject.layer, in, {});
  EXPECT(error_of(run.y.data(),
                  {static_cast<double>(in.params[1][0]), static_cast<double>(in.params[1][1])}) < kTolerance);
  std::vector<real> mean = {0, 0}, variance = {1, 1};
  subject.layer->update_state(std::vector<const std::byte*>{run.batch_aux.data()}, std::vector<int>{1},
                              std::vector<real*>{mean.data(), variance.data()});
  EXPECT(std::abs(static_cast<double>(variance[0]) - 0.9) < 1e-6);  // (1 - 0.1) * 1 + 0.1 * 0
}

TEST_CASE("layers: instruction sets with fused multiply-add agree bit for bit, the baseline closely") {
  const std::vector<int64_t> targets = hwy::SupportedAndGeneratedTargets();
  for (const Subject& subject : all_subjects()) {
    if (!subject.layer->gemms(Phase::forward, 1, true).empty()) continue;  // tested beside their kernels
    CAPTURE(subject.text);
    const Inputs in = make_inputs(*subject.layer, 3, 8);
    hwy::SetSupportedTargetsForTest(0);
    const Run best = run_layer(*subject.layer, in, {});
    for (int64_t target : targets) {
      CAPTURE(hwy::TargetName(target));
      hwy::SetSupportedTargetsForTest(target);
      const Run run = run_layer(*subject.layer, in, {});
      const std::vector<double> y(best.y.begin(), best.y.end()), dx(best.dx[0].begin(), best.dx[0].end());
      EXPECT(error_of(run.y.data(), y) < kTolerance);
      EXPECT(error_of(run.dx[0].data(), dx) < kTolerance);
      if ((target & (HWY_AVX2 | HWY_AVX3)) == 0) continue;
      EXPECT(same_bits(run.y, best.y));
      EXPECT(same_bits(run.aux, best.aux));
      EXPECT(same_bits(run.dx[0], best.dx[0]));
      for (size_t i = 0; i < run.dparams.size(); ++i) EXPECT(same_bits(run.dparams[i], best.dparams[i]));
    }
  }
  hwy::SetSupportedTargetsForTest(0);
}

}  // namespace mbs::testing
