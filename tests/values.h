// Arrays of noise, and how near to their sums of products a kernel must come.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "engine/random.h"
#include "engine/real.h"
#include "tests/doctest.h"

namespace mbs {

using Values = std::vector<real>;
inline constexpr real kNan = std::numeric_limits<real>::quiet_NaN();

/// Uniform in [-1, 1).
inline Values real_noise(int64_t elems, uint64_t key) {
  Values v(static_cast<size_t>(elems));
  const Random random(key, Stream::test);
  for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<real>(2 * random.uniform(i) - 1);
  return v;
}

/// The largest |a - b| over eps * sqrt(k) * root mean square of b: below 4 where both are the same sums of k
/// products. NaN where a value is.
inline double scaled_error(const Values& a, const std::vector<double>& b, int64_t k) {
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

inline constexpr double kScaledTolerance = 4;

/// Both are sums of k products, and differ by rounding only.
inline void expect_close(const Values& got, const std::vector<double>& expected, int64_t k) {
  EXPECT(got.size() == expected.size());
  EXPECT(scaled_error(got, expected, k) < kScaledTolerance);
}

}  // namespace mbs
