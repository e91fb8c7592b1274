#include "layers/normalization.h"

#include <algorithm>
#include <cmath>

#include "layers/kernels/norm.h"
#include "layers/shapes.h"

namespace mbs {
namespace {

constexpr int64_t kRealsPerDouble = static_cast<int64_t>(sizeof(double) / sizeof(real));

// Two sums and four coefficients for each channel.
struct Scratch {
  double *sum0, *sum1;
  real *mean, *a, *b, *c;

  Scratch(real* memory, int64_t channels)
      : sum0(reinterpret_cast<double*>(memory)),
        sum1(sum0 + channels),
        mean(reinterpret_cast<real*>(sum1 + channels)),
        a(mean + channels),
        b(a + channels),
        c(b + channels) {}
};

// The mean that the loops subtract is rounded to real; what the rounding cut off goes into their offset, so
// that a large mean costs no accuracy.
struct Mean {
  real rounded;
  double cut_off;
  explicit Mean(double mean)
      : rounded(static_cast<real>(mean)), cut_off(mean - static_cast<double>(rounded)) {}
};

double inverse_deviation(const GroupStats& stats, double eps) { return 1 / std::sqrt(stats.variance + eps); }

}  // namespace

int64_t norm_scratch_elems(int channels) { return (2 * kRealsPerDouble + 4) * channels; }

void group_statistics(const NormShape& shape, const real* x, GroupStats* stats, real* memory) {
  const Scratch scratch(memory, shape.channels);
  channel_moments(x, shape.pixels, shape.channels, scratch.sum0, scratch.sum1);
  const int group = shape.channels / shape.groups;
  const auto pixels = static_cast<double>(shape.pixels);
  for (int g = 0; g < shape.groups; ++g) {
    const double* means = scratch.sum0 + g * group;
    const double* m2 = scratch.sum1 + g * group;
    double mean = 0, squares = 0;
    for (int c = 0; c < group; ++c) mean += means[c];
    mean /= group;
    // Squares about the group's mean, from those about each channel's own (Chan, Golub, LeVeque 1983).
    for (int c = 0; c < group; ++c) squares += m2[c] + pixels * (means[c] - mean) * (means[c] - mean);
    stats[g] = {mean, squares / (pixels * group)};
  }
}

void group_normalize(const NormShape& shape, const real* x, const GroupStats* stats, const real* gamma,
                     const real* beta, real* y, uint8_t* mask, real* memory) {
  const Scratch scratch(memory, shape.channels);
  const int group = shape.channels / shape.groups;
  for (int g = 0; g < shape.groups; ++g) {
    const Mean mean(stats[g].mean);
    const double rstd = inverse_deviation(stats[g], shape.eps);
    for (int c = g * group; c < (g + 1) * group; ++c) {
      const double scale = gamma[c] * rstd;
      scratch.mean[c] = mean.rounded;
      scratch.a[c] = static_cast<real>(scale);
      scratch.b[c] = static_cast<real>(beta[c] - mean.cut_off * scale);
    }
  }
  normalize(x, y, shape.pixels, shape.channels, scratch.mean, scratch.a, scratch.b, shape.relu, mask);
}

void group_norm_gradient(const NormShape& shape, const real* x, const real* dy, const uint8_t* mask,
                         const GroupStats* stats, const real* gamma, real* dgamma, real* dbeta, real* dx,
                         bool add, real* memory) {
  if (!shape.relu) mask = nullptr;
  const Scratch scratch(memory, shape.channels);
  const int group = shape.channels / shape.groups;
  for (int g = 0; g < shape.groups; ++g)
    std::fill_n(scratch.mean + g * group, group, Mean(stats[g].mean).rounded);
  norm_gradient_sums(x, dy, mask, shape.pixels, shape.channels, scratch.mean, scratch.sum0, scratch.sum1);

  const double n = static_cast<double>(shape.pixels) * group;
  for (int g = 0; g < shape.groups; ++g) {
    const Mean mean(stats[g].mean);
    const double rstd = inverse_deviation(stats[g], shape.eps);
    double sum_dy = 0, sum_dy_xhat = 0;  // weighted by gamma
    for (int c = g * group; c < (g + 1) * group; ++c) {
      const double dy_xhat = (scratch.sum1[c] - mean.cut_off * scratch.sum0[c]) * rstd;
      dgamma[c] += static_cast<real>(dy_xhat);
      dbeta[c] += static_cast<real>(scratch.sum0[c]);
      sum_dy += gamma[c] * scratch.sum0[c];
      sum_dy_xhat += gamma[c] * dy_xhat;
    }
    const double by_x = -rstd * rstd * sum_dy_xhat / n;
    const double offset = -rstd * sum_dy / n - by_x * mean.cut_off;
    for (int c = g * group; c < (g + 1) * group; ++c) {
      scratch.a[c] = static_cast<real>(gamma[c] * rstd);
      scratch.b[c] = static_cast<real>(by_x);
      scratch.c[c] = static_cast<real>(offset);
    }
  }
  if (dx != nullptr)
    norm_data_gradient(x, dy, mask, dx, add, shape.pixels, shape.channels, scratch.mean, scratch.a, scratch.b,
                       scratch.c);
}

NormLayer::NormLayer(const Spec& spec, std::span<const Shape> in) : Layer(in) {
  check_input_count(spec, in, 1);
  out_ = in[0];
  shape_ = {out_.pixels(), out_.c, out_.c, spec.number_or("eps", 1e-5, 1e-12, 1),
            spec.int_or("relu", 0) != 0};
}

std::vector<ParamSpec> NormLayer::params() const {
  return {{"weight", ParamKind::norm_scale, {out_.c}, Init::one},
          {"bias", ParamKind::norm_shift, {out_.c}, Init::zero}};
}

Needs NormLayer::common_needs() const {
  const int64_t working = norm_scratch_elems(out_.c);
  return {.x = true,
          .aux_role = shape_.relu ? Role::relu_mask : Role::none,
          .forward_scratch_elems = stats_elems() + working,
          .backward_scratch_elems = working,
          .x_sweeps = 2,
          .stored_sweeps = 2,
          .gradient_sweeps = 2};
}

}  // namespace mbs
