#include "layers/norm_layer.h"

#include <algorithm>
#include <cmath>

#include "layers/kernels/norm.h"
#include "layers/shapes.h"

namespace mbs {
namespace {

constexpr int64_t kRealsPerDouble = static_cast<int64_t>(sizeof(double) / sizeof(real));

// Two sums and four coefficients for each place of a row.
struct Scratch {
  NormRows rows;
  int64_t channels;
  double *sum0, *sum1;
  real *mean, *a, *b, *c;

  Scratch(const NormShape& shape, real* memory)
      : rows(shape.pixels, shape.channels),
        channels(shape.channels),
        sum0(reinterpret_cast<double*>(memory)),
        sum1(sum0 + rows.width),
        mean(reinterpret_cast<real*>(sum1 + rows.width)),
        a(mean + rows.width),
        b(a + rows.width),
        c(b + rows.width) {}

  // From one coefficient of each channel to one of each place.
  void repeat(real* coefficients) const {
    for (int64_t i = channels; i < rows.width; i += channels)
      std::copy_n(coefficients, channels, coefficients + i);
  }

  // From one sum of each place to one of each channel.
  void fold(double* sums) const {
    for (int64_t i = channels; i < rows.width; i += channels)
      for (int64_t k = 0; k < channels; ++k) sums[k] += sums[i + k];
  }
};

// The mean that the loops subtract is rounded to real; what the rounding cut off goes into their offset, so
// that a large mean costs no accuracy.
struct Mean {
  real rounded;
  double cut_off;
  explicit Mean(double mean)
      : rounded(static_cast<real>(mean)), cut_off(mean - static_cast<double>(rounded)) {}
};

// The mean of a few pixels of each channel: near enough to subtract it before squares are summed in real.
// (One pixel would do but for outliers.)
void sample_means(const NormShape& shape, const real* x, real* means) {
  constexpr int64_t kSamples = 8;
  std::fill_n(means, shape.channels, real(0));
  for (int64_t i = 0; i < kSamples; ++i) {
    const real* pixel = x + shape.pixels * i / kSamples * shape.channels;
    for (int c = 0; c < shape.channels; ++c) means[c] += pixel[c];
  }
  for (int c = 0; c < shape.channels; ++c) means[c] /= kSamples;
}

// The sum of term(c) for c in [first, first + n). One chain of additions would wait for the latency of each.
template <class Term>
double sum_of(int first, int n, const Term& term) {
  double a = 0, b = 0, c = 0, d = 0;
  int i = first;
  for (; i + 4 <= first + n; i += 4) {
    a += term(i);
    b += term(i + 1);
    c += term(i + 2);
    d += term(i + 3);
  }
  for (; i < first + n; ++i) a += term(i);
  return (a + b) + (c + d);
}

double inverse_deviation(const GroupStats& stats, double eps) { return 1 / std::sqrt(stats.variance + eps); }

}  // namespace

int64_t norm_scratch_elems(int channels) { return (2 * kRealsPerDouble + 4) * NormRows::max_width(channels); }

void group_statistics(const NormShape& shape, const real* x, GroupStats* stats, real* memory) {
  const Scratch scratch(shape, memory);
  double *means = scratch.sum0, *m2 = scratch.sum1;
  sample_means(shape, x, scratch.mean);
  scratch.repeat(scratch.mean);
  norm_moments(scratch.rows, x, scratch.mean, means, m2);
  for (double* sums : {means, m2}) scratch.fold(sums);
  const auto pixels = static_cast<double>(shape.pixels);
  const double one_over_pixels = 1 / pixels;
  for (int c = 0; c < shape.channels; ++c) {
    const double offset = means[c] * one_over_pixels;  // of the mean from what was subtracted
    m2[c] -= means[c] * offset;
    means[c] = scratch.mean[c] + offset;
  }
  const int group = shape.channels / shape.groups;
  for (int g = 0; g < shape.groups; ++g) {
    const double mean = sum_of(g * group, group, [&](int c) { return means[c]; }) / group;
    // Squares about the group's mean, from those about each channel's own (Chan, Golub, LeVeque 1983).
    const double squares = sum_of(g * group, group, [&](int c) {
      const double delta = means[c] - mean;
      return m2[c] + pixels * delta * delta;
    });
    stats[g] = {mean, squares / (pixels * group)};
  }
}

void group_normalize(const NormShape& shape, const real* x, const GroupStats* stats, const real* gamma,
                     const real* beta, real* y, uint8_t* mask, real* memory) {
  const Scratch scratch(shape, memory);
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
  for (real* coefficients : {scratch.mean, scratch.a, scratch.b}) scratch.repeat(coefficients);
  normalize(scratch.rows, x, y, scratch.mean, scratch.a, scratch.b, shape.relu, mask);
}

void group_norm_gradient(const NormShape& shape, const real* x, const real* dy, const uint8_t* mask,
                         const GroupStats* stats, const real* gamma, real* dgamma, real* dbeta, real* dx,
                         bool add, real* memory) {
  if (!shape.relu) mask = nullptr;
  const Scratch scratch(shape, memory);
  const int group = shape.channels / shape.groups;
  for (int g = 0; g < shape.groups; ++g)
    std::fill_n(scratch.mean + g * group, group, Mean(stats[g].mean).rounded);
  scratch.repeat(scratch.mean);
  norm_gradient_sums(scratch.rows, x, dy, mask, scratch.mean, scratch.sum0, scratch.sum1);
  for (double* sums : {scratch.sum0, scratch.sum1}) scratch.fold(sums);

  const double n = static_cast<double>(shape.pixels) * group;
  for (int g = 0; g < shape.groups; ++g) {
    const Mean mean(stats[g].mean);
    const double rstd = inverse_deviation(stats[g], shape.eps);
    double *dy_sum = scratch.sum0, *dy_xhat = scratch.sum1;
    for (int c = g * group; c < (g + 1) * group; ++c) {
      dy_xhat[c] = (dy_xhat[c] - mean.cut_off * dy_sum[c]) * rstd;
      dgamma[c] += static_cast<real>(dy_xhat[c]);
      dbeta[c] += static_cast<real>(dy_sum[c]);
    }
    const double sum_dy = sum_of(g * group, group, [&](int c) { return gamma[c] * dy_sum[c]; });
    const double sum_dy_xhat = sum_of(g * group, group, [&](int c) { return gamma[c] * dy_xhat[c]; });
    const double by_x = -rstd * rstd * sum_dy_xhat / n;
    const double offset = -rstd * sum_dy / n - by_x * mean.cut_off;
    for (int c = g * group; c < (g + 1) * group; ++c) {
      scratch.a[c] = static_cast<real>(gamma[c] * rstd);
      scratch.b[c] = static_cast<real>(by_x);
      scratch.c[c] = static_cast<real>(offset);
    }
  }
  if (dx == nullptr) return;
  for (real* coefficients : {scratch.a, scratch.b, scratch.c}) scratch.repeat(coefficients);
  norm_data_gradient(scratch.rows, x, dy, mask, dx, add, scratch.mean, scratch.a, scratch.b, scratch.c);
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
