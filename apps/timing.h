// Timing of short things: repeated until a clock can tell, on one thread or on several together.
#pragma once

#include <algorithm>
#include <cstdint>

#include "apps/progress.h"
#include "engine/parallel.h"

namespace mbs {

/// Seconds of body(thread) on all threads together.
template <class Body>
double timed(int threads, const Body& body) {
  Stopwatch watch;
  parallel_for(threads, threads, body);
  return watch.seconds();
}

/// How often something must be done to take about `seconds`; taken(times) does it and says how long it took.
template <class Taken>
int64_t repetitions(double seconds, const Taken& taken) {
  for (int64_t times = 1;;) {
    const double took = std::max(taken(times), 1e-7), wanted = static_cast<double>(times) * seconds / took;
    if (took > seconds / 4) return std::max<int64_t>(1, static_cast<int64_t>(wanted));
    times = std::clamp<int64_t>(static_cast<int64_t>(wanted), 2 * times, 1000 * times);
  }
}

}  // namespace mbs
