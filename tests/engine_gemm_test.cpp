// What the engine promises of OpenBLAS: its sums, and that their bits do not depend on threads.
#include <cstring>
#include <vector>

#include "engine/gemm.h"
#include "engine/parallel.h"
#include "tests/values.h"

namespace mbs {
namespace {

TEST_CASE("gemm multiplies in every form, and BLAS is the OpenMP one") {
  require_openmp_blas();
  EXPECT(blas_description().find("OpenMP") != std::string::npos);
  const int64_t m = 3, n = 5, k = 7;
  const Values a = real_noise(m * k, 1), b = real_noise(k * n, 2);
  std::vector<double> expected(static_cast<size_t>(m * n), 2);  // C before: 2, kept by beta = 1
  Values at(a.size()), bt(b.size());
  for (int64_t i = 0; i < m; ++i)
    for (int64_t p = 0; p < k; ++p)
      for (int64_t j = 0; j < n; ++j) {
        const auto ik = static_cast<size_t>(i * k + p), kj = static_cast<size_t>(p * n + j);
        expected[static_cast<size_t>(i * n + j)] += double{a[ik]} * double{b[kj]};
        at[static_cast<size_t>(p * m + i)] = a[ik];
        bt[static_cast<size_t>(j * k + p)] = b[kj];
      }
  for (const Transpose ta : {Transpose::no, Transpose::yes})
    for (const Transpose tb : {Transpose::no, Transpose::yes}) {
      Values c(expected.size(), 2);
      gemm(ta, tb, m, n, k, (ta == Transpose::yes ? at : a).data(), (tb == Transpose::yes ? bt : b).data(), 1,
           c.data());
      expect_close(c, expected, k);
      Values assigned(expected.size(), kNan);
      gemm(ta, tb, m, n, k, (ta == Transpose::yes ? at : a).data(), (tb == Transpose::yes ? bt : b).data(), 0,
           assigned.data());
      for (real& v : assigned) v += 2;
      expect_close(assigned, expected, k);
    }
}

// OpenBLAS cuts a product of this size into other blocks for each number of threads, and asks OpenMP for that
// number, which differs inside and outside of parallel regions and in those of one thread.
TEST_CASE("gemm gives the same bits outside and inside of parallel regions of any size") {
  const int64_t m = 1037, n = 119, k = 384;
  const std::vector<real> a = real_noise(m * k, 1), b = real_noise(k * n, 2);
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
