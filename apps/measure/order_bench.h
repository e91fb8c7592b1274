// Whole training steps in several orders, measured against each other and against the FMA peak.
#pragma once

#include <string>
#include <vector>

#include "apps/measure/isolated_steps.h"
#include "apps/options/options.h"
#include "apps/report/progress.h"

namespace mbs {

/// What all rounds of one order came to.
struct OrderTimes {
  std::string order;
  StepTimes times;  ///< seconds of every round, one after the other; the largest peak memory

  double seconds_per_step() const;       ///< median
  double best_seconds_per_step() const;  ///< what a disturbed machine hides
};

struct StepBench {
  ExperimentOptions experiment;  ///< with all that was left open filled in
  int threads = 1;               ///< that compute: no more than there are cores
  double peak_flops = 0;         ///< FMA operations per second of these threads, measured between the rounds
  std::vector<OrderTimes> orders;
};

/// Measures the orders in turn, each time in a process of its own, round after round in alternating
/// direction. Must be called before any thread was started: it forks. Error (usage): an unknown order, or
/// batch norm in another order than the baseline.
StepBench bench_steps(const BenchStepOptions& options, Display& display);

}  // namespace mbs
