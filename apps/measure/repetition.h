// Timing of short things: repeated until a clock can tell, on one thread or on several together.
#pragma once

#include <algorithm>
#include <cstdint>
#include <ctime>

#include "apps/report/progress.h"
#include "engine/parallel.h"

namespace mbs {

/// Seconds that the processors have worked for this process, all threads together, since it was made. Where
/// it is less than the time that passed, something else ran on them.
class CpuClock {
 public:
  double seconds() const { return static_cast<double>(std::clock() - start_) / CLOCKS_PER_SEC; }

 private:
  std::clock_t start_ = std::clock();
};

/// Seconds of body(thread) on all threads together.
template <class Body>
double timed(int threads, const Body& body) {
  Stopwatch watch;
  parallel_for(threads, threads, body);
  return watch.seconds();
}

/// How often something must be done to take about `seconds`; work(times) does it, on this thread alone:
/// beside other work, starting and joining threads may take longer than what is timed.
template <class Work>
int64_t repetitions(double seconds, const Work& work) {
  for (int64_t times = 1;;) {
    const Stopwatch watch;
    work(times);
    const double took = std::max(watch.seconds(), 1e-7), wanted = static_cast<double>(times) * seconds / took;
    if (took > seconds / 4) return std::max<int64_t>(1, static_cast<int64_t>(wanted));
    times = std::clamp<int64_t>(static_cast<int64_t>(wanted), 2 * times, 1000 * times);
  }
}

}  // namespace mbs
