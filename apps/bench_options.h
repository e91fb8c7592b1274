// What `mbs bench` is told.
#pragma once

#include "apps/options.h"

namespace mbs {

/// `mbs bench machine`.
struct BenchMachineOptions {
  int threads = 0;  ///< 0: all hardware threads
  bool json = false, csv = false;
};

/// `mbs bench kernels`.
struct BenchKernelsOptions {
  /// Network and plan: only what decides them is used.
  PlanCliOptions network{
      .arch = {}, .order = "mbs2", .buffer = "auto", .accounting = "fused", .batch_size = 64};
  std::string kernels = "auto", fusion = "auto", kind;
  int samples = 0;  ///< of one call; 0: the sub-batch of MBS2
  int threads = 1;
  bool json = false, csv = false;
};

}  // namespace mbs
