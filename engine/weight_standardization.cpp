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

/// Assigns standardized filters to `values`; returns by which scale each filter has become 1 long.
std::vector<double> standardize(const Filters& filters, std::span<const real> params,
                                std::span<real> values) {
  const auto n = static_cast<double>(filters.size);
  std::vector<double> mean = filters.sums([&](size_t i, size_t) { return static_cast<double>(params[i]); });
  for (double& m : mean) m /= n;
  const auto deviation = [&](size_t i, size_t f) { return static_cast<double>(params[i]) - mean[f]; };
  std::vector<double> scale =
      filters.sums([&](size_t i, size_t f) { return deviation(i, f) * deviation(i, f); });
  for (double& s : scale) s = 1 / std::sqrt(s + n * kEps);
  filters.for_each([&](size_t i, size_t f) { values[i] = static_cast<real>(deviation(i, f) * scale[f]); });
  return scale;
}

}  // namespace

WeightStandardization::WeightStandardization(const Network& network) {
  const std::span<const ParamInfo> params = network.params();
  if (std::none_of(params.begin(), params.end(), [](const ParamInfo& p) { return p.spec.standardized; }))
    return;
  params_ = params;
  values_.resize(static_cast<size_t>(network.param_array_elems()));
  scale_.resize(params.size());
}

std::span<const real> WeightStandardization::apply(std::span<const real> params, int threads) {
  if (params_.empty()) return params;
  parallel_for(static_cast<int>(params_.size()), threads, [&](int p) {
    const ParamInfo& info = params_[static_cast<size_t>(p)];
    if (info.spec.standardized)
      scale_[static_cast<size_t>(p)] = standardize(Filters(info), params, values_);
    else
      std::copy_n(params.begin() + info.offset, info.elems, values_.begin() + info.offset);
  });
  return values_;
}

// dw = scale (g - mean(g) - v sum(g v)), the derivative of v times the gradient g of v.
void WeightStandardization::to_gradients(std::span<real> gradients, int threads) const {
  parallel_for(static_cast<int>(params_.size()), threads, [&](int p) {
    const ParamInfo& info = params_[static_cast<size_t>(p)];
    if (!info.spec.standardized) return;
    const std::vector<double>& scale = scale_[static_cast<size_t>(p)];
    const Filters filters(info);
    const auto value = [&](size_t i) { return static_cast<double>(values_[i]); };
    const auto gradient = [&](size_t i) { return static_cast<double>(gradients[i]); };
    const auto sum = filters.sums([&](size_t i, size_t) { return gradient(i); });
    const auto along = filters.sums([&](size_t i, size_t) { return gradient(i) * value(i); });
    const auto n = static_cast<double>(filters.size);
    filters.for_each([&](size_t i, size_t f) {
      gradients[i] = static_cast<real>(scale[f] * (gradient(i) - sum[f] / n - value(i) * along[f]));
    });
  });
}

}  // namespace mbs
