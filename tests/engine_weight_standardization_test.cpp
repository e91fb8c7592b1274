// Weight standardization against its definition and its derivative by finite differences, on weights of every
// layout. PyTorch's fixtures (tests/zoo_torch_test.cpp) see it in a whole network.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/optimizer.h"
#include "engine/weight_standardization.h"
#include "layers/zoo/zoo.h"
#include "tests/values.h"

using namespace mbs;

namespace {

constexpr double kTolerance = sizeof(real) == sizeof(double) ? 1e-9 : 1e-5;

Network standardized_network() {
  return make_network({.arch = "resnet8", .weight_standardization = true, .shortcut = Shortcut::b});
}

/// Filter `f` of a weight: every element whose last index is f.
std::vector<double> filter_of(const ParamInfo& p, std::span<const real> values, int f) {
  std::vector<double> filter;
  for (int64_t i = f; i < p.elems; i += p.spec.dims.back())
    filter.push_back(static_cast<double>(values[static_cast<size_t>(p.offset + i)]));
  return filter;
}

std::vector<double> definition(const std::vector<double>& w) {
  const auto n = static_cast<double>(w.size());
  double mean = 0, variance = 0;
  for (double x : w) mean += x / n;
  for (double x : w) variance += (x - mean) * (x - mean) / n;
  std::vector<double> v;
  for (double x : w) v.push_back((x - mean) / std::sqrt(n * (variance + 1e-6)));
  return v;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// The derivative of dot(g, definition(w)) by w[i].
double slope(std::vector<double> w, const std::vector<double>& g, size_t i) {
  const double step = 1e-5;
  w[i] += step;
  const double above = dot(g, definition(w));
  w[i] -= 2 * step;
  return (above - dot(g, definition(w))) / (2 * step);
}

double largest(const std::vector<double>& values) {
  double most = 0;
  for (double v : values) most = std::max(most, std::abs(v));
  return most;
}

}  // namespace

TEST_CASE("standardized weights are those of the definition, and all others stay as they are") {
  const Network network = standardized_network();
  const std::vector<real> params = real_noise(network.param_array_elems(), 1);
  WeightStandardization weights(network);
  const std::span<const real> made = weights.apply(params, 2);
  int standardized = 0;
  for (const ParamInfo& p : network.params()) {
    CAPTURE(p.key);
    EXPECT(p.spec.standardized == (p.spec.kind == ParamKind::conv_weight));
    const auto at = static_cast<size_t>(p.offset), size = static_cast<size_t>(p.elems) * sizeof(real);
    if (!p.spec.standardized) {
      EXPECT(std::memcmp(&made[at], &params[at], size) == 0);
      continue;
    }
    ++standardized;
    for (const int f : {0, p.spec.dims.back() / 2, p.spec.dims.back() - 1}) {
      const std::vector<double> want = definition(filter_of(p, params, f)), got = filter_of(p, made, f);
      for (size_t i = 0; i < want.size(); ++i)
        EXPECT(std::abs(got[i] - want[i]) <= kTolerance * largest(want));
    }
  }
  EXPECT(standardized == 9);  // the stem, two in each of three blocks, two projections
}

TEST_CASE("gradients of standardized weights are the slopes of the definition") {
  const Network network = standardized_network();
  const int64_t elems = network.param_array_elems();
  const std::vector<real> params = real_noise(elems, 1), before = real_noise(elems, 2);
  std::vector<real> gradients = before;
  WeightStandardization weights(network);
  weights.apply(params, 1);
  weights.to_gradients(gradients, 2);
  for (const ParamInfo& p : network.params()) {
    CAPTURE(p.key);
    const auto at = static_cast<size_t>(p.offset), size = static_cast<size_t>(p.elems) * sizeof(real);
    if (!p.spec.standardized) {
      EXPECT(std::memcmp(&gradients[at], &before[at], size) == 0);
      continue;
    }
    for (const int f : {0, p.spec.dims.back() - 1}) {
      const std::vector<double> w = filter_of(p, params, f), g = filter_of(p, before, f),
                                got = filter_of(p, gradients, f);
      for (const size_t i : {size_t{0}, w.size() / 2, w.size() - 1}) {
        const double want = slope(w, g, i);
        EXPECT(std::abs(got[i] - want) <= 10 * kTolerance * largest(got));
      }
    }
  }
}

TEST_CASE("a network that standardizes nothing reads its parameters in place") {
  const Network network = make_network({.arch = "resnet8"});
  const std::vector<real> params = initial_params(network, 1);
  std::vector<real> gradients = params;
  WeightStandardization weights(network);
  EXPECT(weights.apply(params, 1).data() == params.data());
  weights.to_gradients(gradients, 1);
  EXPECT(std::memcmp(gradients.data(), params.data(), params.size() * sizeof(real)) == 0);
}
