// What this machine can do at most: fused multiply-adds and memory bandwidth, measured.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace mbs {

/// Floating-point operations per second of `threads` threads together, in the engine's precision: the best of
/// `runs` measurements of about `seconds` each, since nothing but a disturbance makes one slower.
double measure_fma_peak(int threads, int runs = 7, double seconds = 0.02);

/// Bandwidth of one level of the memory system.
struct Bandwidth {
  std::string level;          ///< "L1", "L2", "L3", "DRAM"
  int64_t bytes = 0;          ///< working set of one thread
  double read = 0, copy = 0;  ///< bytes per second of all threads together; a copy counts both directions
};

/// Medians, for each level of cache that the system names and for DRAM (a working set of four times the last
/// level, 1 GiB at most). `started`, where given, is told the level that is about to be measured.
std::vector<Bandwidth> measure_bandwidths(int threads,
                                          const std::function<void(const std::string&)>& started = {});

}  // namespace mbs
