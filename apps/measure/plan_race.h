// Measures plans of one network against each other on this machine.
#pragma once

#include <string>
#include <vector>

#include "apps/report/progress.h"
#include "apps/training/experiment.h"

namespace mbs {

/// A plan that is measured.
struct Candidate {
  std::string order;
  PlanChoice choice;  ///< buffer and grouping that made the plan
  Plan plan;
  std::vector<double> rounds = {};  ///< seconds of a step: the median of each measurement
  int64_t steps = 0;                ///< measured in all
  int64_t peak_rss_bytes = 0;       ///< of a process that does nothing but train
  bool dropped = false;             ///< too slow for another round
  bool best = false;                ///< the fastest of its order

  /// The best of the rounds: others may have been disturbed by what else this machine does.
  double seconds_per_step() const;
};

/// Different plans of the orders, groupings and buffers; of equal ones the first. Baseline order leads as the
/// measure of the others. Error (usage): batch norm, of which no plan can be chosen; an unknown word.
std::vector<Candidate> make_candidates(const TuneOptions& options);

/// Trains for a few steps with each candidate in turn, each time in a process of its own, round after round
/// in alternating direction. What is more than a tenth slower than the best of its order is dropped after a
/// round. Marks the best. Must be called before any thread was started: it forks.
void measure(std::vector<Candidate>& candidates, const TuneOptions& options, Display& display);

}  // namespace mbs
