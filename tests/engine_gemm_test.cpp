// What the engine promises of OpenBLAS beyond its arithmetic (tests/layers_conv_test.cpp has that).
#include <cstring>
#include <vector>

#include "engine/gemm.h"
#include "engine/parallel.h"
#include "engine/random.h"
#include "tests/doctest.h"

namespace mbs {
namespace {

std::vector<real> noise(int64_t elems, uint64_t key) {
  std::vector<real> v(static_cast<size_t>(elems));
  const Random random(key, Stream::test);
  for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<real>(2 * random.uniform(i) - 1);
  return v;
}

// OpenBLAS cuts a product of this size into other blocks for each number of threads, and asks OpenMP for that
// number, which differs inside and outside of parallel regions and in those of one thread.
TEST_CASE("gemm gives the same bits outside and inside of parallel regions of any size") {
  const int64_t m = 1037, n = 119, k = 384;
  const std::vector<real> a = noise(m * k, 1), b = noise(k * n, 2);
  std::vector<real> alone(static_cast<size_t>(m * n));
  gemm(Transpose::no, Transpose::no, m, n, k, a.data(), b.data(), 0, alone.data());
  for (const int threads : {1, 2, 1, 4}) {
    CAPTURE(threads);
    std::vector<std::vector<real>> made(static_cast<size_t>(threads), std::vector<real>(alone.size()));
    parallel_for(threads, threads, [&](int t) {
      gemm(Transpose::no, Transpose::no, m, n, k, a.data(), b.data(), 0, made[static_cast<size_t>(t)].data());
    });
    for (const std::vector<real>& c : made)
      EXPECT(std::memcmp(c.data(), alone.data(), c.size() * sizeof(real)) == 0);
  }
}

}  // namespace
}  // namespace mbs
