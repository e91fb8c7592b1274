// A training step of all cores: each core walks the schedule over its own share of the mini-batch, one thread
// at a time; threads take cores. Gradients of the cores are summed in core order, so the bits depend on the
// number of cores and never on the number of threads.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/network.h"
#include "engine/node_arrays.h"
#include "engine/schedule.h"
#include "engine/weight_standardization.h"

namespace mbs {

/// A mini-batch in memory.
struct Batch {
  int samples = 0;
  const real* images = nullptr;  ///< samples x Network::tensor(input()).shape
  const int* labels = nullptr;   ///< samples; -1: unknown
};

/// Sums over the samples of a batch, in sample order.
struct BatchResult {
  double loss_sum = 0;
  int correct = 0;  ///< samples that names_label() is true of
};

/// Whether the most probable class, the first of equals, is `label`.
bool names_label(std::span<const real> probabilities, int label);

/// The share of core `core`: samples [begin, end) of `samples`; shares differ by at most one.
struct Share {
  int begin, end;
  int size() const { return end - begin; }
};
Share core_share(int samples, int cores, int core);
/// Error (usage): a core would have no share of a batch of so many samples.
void check_shares(int batch, int cores);

class Executor;
struct Parameters;

/// Runs steps of a schedule on `cores` data-parallel cores with `threads` threads.
class DataParallel {
 public:
  /// `batch`: the largest mini-batch it will be given. `schedule.batch` must be the largest share, ceil(batch
  /// / cores). All memory is planned and allocated here, none later. `lender`: of the same network; its
  /// memory is used where it is large enough, as nothing in it outlasts a step or an evaluation. The two must
  /// not run at the same time. Error: see check_shares(), or an invalid schedule.
  DataParallel(const Network&, const Schedule&, int batch, int cores, int threads,
               const DataParallel* lender = nullptr);
  ~DataParallel();

  /// Forward and backward over the batch (cores <= samples <= the constructor's batch). Afterwards
  /// gradients() holds the gradient of the mean loss, and the running statistics in `states` are updated.
  /// `recorders`: one per core or empty; each sees the kernel calls of its core, on the thread that runs it,
  /// and every stage but the optimizer's, which is not run here.
  /// Error: the loss is not finite; the message names the first layer whose output is not.
  BatchResult step(const Batch&, const StepKey&, std::span<const real> params, std::span<real> states,
                   std::span<Recorder* const> recorders = {});

  /// Forward only (a schedule without backward passes), any number of samples up to the batch.
  /// `probabilities`, where given, receives samples x classes.
  BatchResult evaluate(const Batch&, std::span<const real> params, std::span<const real> states,
                       std::span<real> probabilities = {});

  /// As Network::params() lays it out.
  std::span<const real> gradients() const { return core_gradients_[0]; }
  /// Bytes of all planned memory, lent or own: activations, gradients, masks, working space.
  int64_t planned_bytes() const;
  int cores() const { return static_cast<int>(cores_.size()); }

 private:
  BatchResult collect(const Batch&, std::span<real> probabilities) const;
  [[noreturn]] void report_nonfinite(const Batch&, const StepKey&, const Parameters&);
  std::span<const real> prepare(std::span<const real> params);
  void sum_gradients();
  void update_states(int samples, std::span<real> states);

  const Network& network_;
  int batch_, threads_;
  bool training_ = false;
  std::shared_ptr<WeightStandardization> weights_;
  std::shared_ptr<NodeArrays> prepared_;
  std::vector<std::unique_ptr<Executor>> cores_;
  std::vector<std::vector<real>> core_gradients_;  ///< after a step the first is the sum of all
};

}  // namespace mbs
