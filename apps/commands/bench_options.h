// What `mbs bench` is told.
#pragma once

#include "apps/options/options.h"

namespace mbs {

/// Where the figures go.
struct BenchOutput {
  bool json = false, csv = false;  ///< instead of text
  std::string out;                 ///< a file that gets the JSON as well; empty: none
};

/// `mbs bench machine`.
struct BenchMachineOptions {
  int threads = 0;  ///< 0: all hardware threads
  BenchOutput output;
};

/// `mbs bench kernels`.
struct BenchKernelsOptions {
  /// Network and plan: only what decides them is used.
  PlanCliOptions network{
      .arch = {}, .order = "mbs2", .buffer = "auto", .accounting = "fused", .batch_size = 64};
  std::string kernels = "auto", fusion = "auto", kind;
  int samples = 0;  ///< of one call; 0: the sub-batch of MBS2
  int threads = 1;
  BenchOutput output;
};

/// `mbs bench step`. Of the experiment: what decides network, plan and machine.
struct BenchStepOptions {
  ExperimentOptions experiment;
  std::vector<std::string> orders = {"baseline", "mbs2"};
  int steps = 0;   ///< of one measurement; 0: about a second's worth
  int rounds = 5;  ///< measurements of each order
  std::string progress = "auto";
  BenchOutput output;
};

}  // namespace mbs
