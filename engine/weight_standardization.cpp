#include "engine/weight_standardization.h"

#include <algorithm>
#include <cmath>

#include "engine/parallel.h"

namespace mbs {
namespace {

constexpr double kEps = 1e-6;  // as timm's StdConv2d has it

/// A weight as a matrix: filters are the columns, as the last dimension is the innermost.
struct Filters {
  explicit Filters(const ParamInfo& p)
      : count(static_cast<size_t>(p.spec.dims.back())),
        size(static_cast<size_t>(p.elems) / count),
        offset(static_cast<size_t>(p.offset)) {}
  size_t count, size, offset;

  /// Of each filter: the sum of value(index of element, filter) over its elements, in double.
  template <class Value>
  std::vector<double> sums(Value&& value) const {
    std::vector<double> sums(count);
    for (size_t i = 0; i < size; ++i)
      for (size_t f = 0; f < count; ++f) sums[f] += value(offset + i * count + f, f);
    return sums;
  }

  template <class Assign>
  void for_each(Assign&& assign) const {
    for (size_t i = 0; i < size; ++i)
      for (size_t f = 0; f < count; ++f) assign(offset + i * count + f, f);
  }
};

/// Of each filter: its mean, and the scale that brings its deviations from it to length 1.
struct Moments {
  std::vector<double> mean, scale;

  Moments(const Filters& filters, std::span<const real> params) {
    const auto n = static_cast<double>(filters.size);
    mean = filters.sums([&](size_t i, size_t) { return static_cast<double>(params[i]); });
    for (double& m : mean) m /= n;
    scale = filters.sums([&](size_t i, size_t f) {
      const double d = static_cast<double>(params[i]) - mean[f];
      return d * d;
    });
    for (double& s : scale) s = 1 / std::sqrt(s + n * kEps);
  }
};

}  // namespace

WeightStandardization::WeightStandardization(const Network& network) {
  for (const ParamInfo& p : network.params())
    if (p.spec.standardized) standardized_.push_back(&p);
  if (!standardized_.empty()) values_.resize(static_cast<size_t>(network.param_array_elems()));
}

std::span<const real> WeightStandardization::apply(std::span<const real> params, int threads) {
  if (standardized_.empty()) return params;
  std::copy(params.begin(), params.end(), values_.begin());
  parallel_for(static_cast<int>(standardized_.size()), threads, [&](int p) {
    const Filters filters(*standardized_[static_cast<size_t>(p)]);
    const Moments moments(filters, params);
    filters.for_each([&](size_t i, size_t f) {
      values_[i] = static_cast<real>((static_cast<double>(params[i]) - moments.mean[f]) * moments.scale[f]);
    });
  });
  return values_;
}

// dw = scale (g - mean(g) - v sum(g v)), the derivative of v times the gradient g of v.
void WeightStandardization::to_gradients_of(std::span<const real> params, std::span<real> gradients,
                                            int threads) const {
  parallel_for(static_cast<int>(standardized_.size()), threads, [&](int p) {
    const Filters filters(*standardized_[static_cast<size_t>(p)]);
    const Moments moments(filters, params);
    const auto value = [&](size_t i) { return static_cast<double>(values_[i]); };
    const auto gradient = [&](size_t i) { return static_cast<double>(gradients[i]); };
    const auto sum = filters.sums([&](size_t i, size_t) { return gradient(i); });
    const auto along = filters.sums([&](size_t i, size_t) { return gradient(i) * value(i); });
    const auto n = static_cast<double>(filters.size);
    filters.for_each([&](size_t i, size_t f) {
      gradients[i] = static_cast<real>(moments.scale[f] * (gradient(i) - sum[f] / n - value(i) * along[f]));
    });
  });
}

}  // namespace mbs
