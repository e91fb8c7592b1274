// One experiment in training: its weights, one update, one evaluation. Knows no files and no screen.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "apps/training/checkpoint.h"
#include "apps/training/evaluator.h"
#include "apps/training/experiment.h"
#include "apps/training/profiler.h"
#include "engine/data_parallel.h"

namespace mbs {

/// An experiment in training.
class Trainer {
 public:
  /// Weights as the seed gives them.
  explicit Trainer(const Experiment& experiment);

  /// Takes over weights and running statistics of a checkpoint, to evaluate. Error: as restore(Checkpoint).
  void restore(const Checkpoint& checkpoint);
  /// Takes over all of it, to train on.
  void resume(const Checkpoint& checkpoint);
  /// All arrays as they are now; valid while the trainer lives.
  TrainSpans<const real> state() const;

  /// One update with learning rate `lr`; `step` counts updates from the start. Error: the loss is not finite.
  BatchResult step(const LoadedBatch& batch, int64_t step, double lr);

  Evaluation evaluate(const Dataset& dataset, std::span<const int> indices);

  /// What the last step cost on the modelled machine, from its kernel calls; all 0 with --no-mirror. DRAM
  /// bytes are the sum of all cores; time and energy are those of cores that all have the largest share.
  StepCost modelled_step() const;
  /// Where the time of the steps so far went; empty without ExperimentOptions::profile.
  Profile profile() const;
  /// Begins a new profile.
  void restart_profile();
  /// What SGD updates: not the moving average.
  std::span<const real> params() const { return averages() ? state_.trained : state_.params; }
  int64_t planned_bytes() const { return cores_.planned_bytes(); }

 private:
  bool averages() const { return !state_.trained.empty(); }

  const Experiment& experiment_;
  TrainState state_;  // without velocity, which the optimizer holds
  Sgd sgd_;
  DataParallel cores_;
  Evaluator evaluator_;                // in the memory of cores_
  std::vector<Simulator> simulators_;  // one per core
  std::vector<Recorder*> mirrors_;     // the same, as the engine sees them
  std::optional<Profiler> profiler_;
};

}  // namespace mbs
