#include <cmath>

#include "engine/random.h"
#include "tests/doctest.h"

using namespace mbs;

TEST_CASE("random values depend on every part of their key") {
  const Random base(1, Stream::crop, 2, 3);
  EXPECT(base.bits(4) == Random(1, Stream::crop, 2, 3).bits(4));
  EXPECT(base.bits(4) != Random(2, Stream::crop, 2, 3).bits(4));
  EXPECT(base.bits(4) != Random(1, Stream::flip, 2, 3).bits(4));
  EXPECT(base.bits(4) != Random(1, Stream::crop, 3, 3).bits(4));
  EXPECT(base.bits(4) != Random(1, Stream::crop, 2, 4).bits(4));
  EXPECT(base.bits(4) != base.bits(5));
}

TEST_CASE("random values have the moments of their distributions") {
  const Random random(7, Stream::test);
  constexpr int n = 100000;
  double uniform = 0, normal = 0, square = 0;
  int64_t ones = 0;
  for (uint64_t i = 0; i < n; ++i) {
    uniform += random.uniform(i);
    normal += random.normal(i);
    square += random.normal(i) * random.normal(i);
    ones += random.below(i, 3) == 1;
  }
  // Five standard errors: 1/sqrt(12 n), 1/sqrt(n), sqrt(2/n), sqrt(2/9 n).
  EXPECT(std::abs(uniform / n - 0.5) < 5 / std::sqrt(12.0 * n));
  EXPECT(std::abs(normal / n) < 5 / std::sqrt(1.0 * n));
  EXPECT(std::abs(square / n - 1) < 5 * std::sqrt(2.0 / n));
  EXPECT(std::abs(static_cast<double>(ones) - n / 3.0) < 5 * std::sqrt(2.0 / 9 * n));
}
