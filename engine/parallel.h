// The only OpenMP of the program. One level of parallelism: our loops over cores or ranges; BLAS
// runs single-threaded inside them (engine/gemm.cpp sees to it).
#pragma once

#include <omp.h>

#include <cstdint>
#include <exception>

namespace mbs {

/// Hardware threads available to this process.
inline int hardware_threads() { return omp_get_num_procs(); }

/// What this thread calls from here on, until the region that it is in ends, starts no threads by OpenMP
/// unless it says how many (our loops do, libraries do not).
inline void allow_no_threads_below() { omp_set_num_threads(1); }

/// Calls body(i) for i in [0, n) on up to `threads` threads; thread t takes i = t, t + threads, ... so that
/// the same thread meets the same memory each time. An exception of any call is rethrown after all have
/// ended.
template <class Body>
void parallel_for(int n, int threads, Body&& body) {
  std::exception_ptr error;
#pragma omp parallel for schedule(static, 1) num_threads(threads)
  for (int i = 0; i < n; ++i) {
    try {
      body(i);
    } catch (...) {
#pragma omp critical
      error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

/// Calls body(begin, end) over [0, n) cut into `threads` contiguous pieces, multiples of 16 elements long.
template <class Body>
void parallel_ranges(int64_t n, int threads, Body&& body) {
  const int64_t piece = (n / threads + 15) / 16 * 16 + 16;
  parallel_for(threads, threads, [&](int t) {
    const int64_t begin = piece * t, end = begin + piece < n ? begin + piece : n;
    if (begin < end) body(begin, end);
  });
}

}  // namespace mbs
