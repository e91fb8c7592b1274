// Times training steps in a process that does nothing else, so that its memory is its own and nothing of an
// earlier measurement lingers.
#pragma once

#include <string>
#include <vector>

#include "apps/training/experiment.h"
#include "apps/training/step_profile.h"

namespace mbs {

/// What the steps of one process came to.
struct StepTimes {
  std::vector<double> seconds;  ///< of each step; the first one, which takes the memory, is left out
  int64_t peak_rss_bytes = 0, planned_bytes = 0, buffer_bytes = 0;
  std::string buffer_note;       ///< how the buffer was chosen; empty if it was given
  std::vector<int> sub_batches;  ///< of every group
  double flops = 0;              ///< nominal floating-point operations of a step
  Profile profile;               ///< of these steps, with ExperimentOptions::profile
};

/// The same experiment on synthetic images, one batch of them, without augmentation, and with weights that
/// stay as they are: every step does the same work. Everything that was left open is filled in.
ExperimentOptions synthetic_experiment(const ExperimentOptions& options, const std::string& order);

/// Trains for `steps` steps (0: about a second's worth) after one that is not counted, in a child process:
/// must be called before any thread was started. `choice` as for make_experiment(). Error: what the
/// experiment cannot do, led by its order.
StepTimes time_steps(const ExperimentOptions& experiment, int steps, const PlanChoice* choice = nullptr);

}  // namespace mbs
