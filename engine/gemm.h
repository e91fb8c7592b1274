// Matrix products through OpenBLAS: the only way to BLAS in the program. Single-threaded: parallelism is over
// cores, outside of the calls.
#pragma once

#include <cstdint>
#include <string>

#include "engine/real.h"

namespace mbs {

/// Whether a factor of a product is used as it lies in memory or transposed.
enum class Transpose : uint8_t { no, yes };

/// C[m][n] = A[m][k] B[k][n] + beta C, all row-major without gaps. With Transpose::yes for `a`, A lies in
/// memory as [k][m]; for `b`, B lies as [n][k]. beta is 0 (C may hold anything, NaN included) or 1.
///
/// The bits of a row of C may depend on m (OpenBLAS takes another path for a single row), so one call must
/// never mix samples whose results have to be independent of each other.
void gemm(Transpose a_form, Transpose b_form, int64_t m, int64_t n, int64_t k, const real* a, const real* b,
          real beta, real* c);

/// What BLAS this is: version and options, core type, kind of threads.
std::string blas_description();

/// Error: the OpenBLAS in use was not built for OpenMP (its own threads would fight with ours); says what to
/// install.
void require_openmp_blas();

}  // namespace mbs
