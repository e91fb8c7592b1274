#include "engine/gemm.h"

#include <cblas.h>

#include <limits>
#include <type_traits>

#include "engine/check.h"
#include "engine/parallel.h"

namespace mbs {
namespace {

constexpr auto kCblasGemm = [] {
  if constexpr (std::is_same_v<real, double>)
    return cblas_dgemm;
  else
    return cblas_sgemm;
}();

constexpr int kOpenMp = 2;  // openblas_get_parallel(): 0 sequential, 1 its own threads, 2 OpenMP

}  // namespace

void gemm(Transpose a_form, Transpose b_form, int64_t m, int64_t n, int64_t k, const real* a, const real* b,
          real beta, real* c) {
  // OpenBLAS takes as many threads as OpenMP would here, which a parallel region of one thread, in which we
  // may be, gives back when it ends: so it is told at every call. Its sums depend on its threads.
  allow_no_threads_below();
  constexpr int64_t kMax = std::numeric_limits<int>::max();
  CHECK(m <= kMax && n <= kMax && k <= kMax, "GEMM {}x{}x{} is too large for BLAS", m, n, k);
  const bool ta = a_form == Transpose::yes, tb = b_form == Transpose::yes;
  const int mi = static_cast<int>(m), ni = static_cast<int>(n), ki = static_cast<int>(k);
  kCblasGemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, mi, ni, ki, 1, a,
             ta ? mi : ki, b, tb ? ki : ni, beta, c, ni);
}

std::string blas_description() {
  constexpr const char* kParallel[] = {"sequential", "pthreads", "OpenMP"};
  const int parallel = openblas_get_parallel();
  CHECK(parallel >= 0 && parallel <= kOpenMp, "openblas_get_parallel() = {}", parallel);
  return fmt::format("{}, core {}, {}", openblas_get_config(), openblas_get_corename(), kParallel[parallel]);
}

void require_openmp_blas() {
  if (openblas_get_parallel() != kOpenMp)
    fail(
        "this OpenBLAS ({}) is not built for OpenMP; install libopenblas-openmp-dev (Debian, Ubuntu) and "
        "build again",
        blas_description());
}

}  // namespace mbs
