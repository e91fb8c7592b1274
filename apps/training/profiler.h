// Observes training steps with a clock: how long every kernel call took, and everything between them.
#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "apps/training/step_profile.h"
#include "engine/event.h"
#include "engine/network.h"

namespace mbs {

/// Observes one core. It reads the clock twice a call, and adds to a few counters.
class CoreProfiler : public Recorder {
 public:
  /// Sums over the calls of one node in one phase.
  struct Sum {
    int64_t calls = 0, macs = 0, bytes = 0;
    double seconds = 0;
  };
  enum Way : uint8_t { forward, backward, recompute };
  static constexpr size_t kWays = 3;

  /// `next`, which may be null, sees every call, too; its time is counted apart.
  CoreProfiler(int nodes, Recorder* next) : next_(next), sums_(static_cast<size_t>(nodes)) {}

  void on_kernel(const KernelEvent&) override;
  void on_stage(Stage) override;

  const Sum& sum(NodeId node, Way way) const { return sums_[static_cast<size_t>(node)][way]; }
  double seconds(Stage stage) const { return stages_[static_cast<size_t>(stage)]; }
  /// Of `next`.
  double recorder_seconds() const { return recorder_seconds_; }
  /// From entering the core to leaving it, waiting left out.
  double busy_seconds() const;
  /// From the preparation of the step to the end of all cores.
  double region_seconds() const { return seconds(Stage::enter) + busy_seconds() + seconds(Stage::leave); }

 private:
  using Clock = std::chrono::steady_clock;
  double lap();  // seconds since the last call

  Recorder* next_;
  std::vector<std::array<Sum, kWays>> sums_;
  std::array<double, kStages> stages_{};
  double recorder_seconds_ = 0;
  Clock::time_point last_ = Clock::now();
};

/// Observes all cores of an experiment.
class Profiler {
 public:
  /// `threads`: that take the cores. `next`: one recorder per core, or empty.
  Profiler(const Network& network, int cores, int threads, std::span<Recorder* const> next);

  /// What DataParallel::step is to be given.
  std::span<Recorder* const> recorders() const { return recorders_; }
  /// Adds a step and the time it took from outside, after the last of its stages.
  void add_step(double seconds);
  /// What was observed so far.
  Profile profile() const;

 private:
  void add_layers(Profile& profile) const;
  void add_stages(Profile& profile) const;

  const Network& network_;
  int threads_;
  std::vector<std::unique_ptr<CoreProfiler>> cores_;
  std::vector<Recorder*> recorders_;
  int64_t steps_ = 0;
  double seconds_ = 0;
};

}  // namespace mbs
