// Runs the schedule of one core. The one place that calls layers, and the one place that emits events.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/arena.h"
#include "engine/data_parallel.h"
#include "engine/dataflow.h"
#include "engine/memory_plan.h"
#include "engine/node_arrays.h"
#include "engine/program.h"

namespace mbs {

/// A core's share of a mini-batch, and where it stands in it.
struct CoreBatch {
  int samples = 0;               ///< at most the schedule's batch
  int first_sample = 0;          ///< of the share, in the mini-batch
  int batch = 0;                 ///< samples of the mini-batch of all cores
  const real* images = nullptr;  ///< of the share
  const int* labels = nullptr;   ///< of the share
};

/// What a step reads of the network's parameters; all cores read the same.
struct Parameters {
  std::span<const real> params, states;  ///< flat, as Network::params() and states(); as layers read them
  const NodeArrays& prepared;            ///< what Layer::prepare made of `params`
};

class Executor {
 public:
  /// Plans and takes the memory, of `lender` where that has enough. Error: an invalid schedule, or no memory.
  Executor(const Network&, const Schedule&, const Executor* lender = nullptr);

  /// Walks the whole schedule. `gradients` (flat, as Network::params()) are added to; not used without
  /// backward passes. `recorder` may be null.
  void run(const CoreBatch&, const StepKey&, const Parameters&, std::span<real> gradients,
           Recorder* recorder);

  /// The output of the last layer for every sample of the last run: {loss, probabilities} where it is a loss.
  const real* output() const;
  /// What a layer that couples samples left for the running statistics.
  const std::byte* batch_aux(NodeId) const;

  /// Walks the forward passes again and returns the first layer with an output that is not finite; -1: none.
  NodeId first_nonfinite(const CoreBatch&, const StepKey&, const Parameters&);

  int64_t planned_bytes() const { return plan_.arena_bytes + accumulators_.bytes(); }

 private:
  // Where a buffer of a step begins: at offset + (whole_batch ? first sample of the chunk : 0) *
  // bytes_per_sample.
  struct Place {
    int64_t offset = -1;  // -1: there is no such buffer
    int64_t bytes_per_sample = 0;
    bool whole_batch = false;
    bool is_input = false;  // the network's input, which the caller owns
  };
  struct BoundStep {
    std::vector<Place> x, dx;
    Place y, dy, aux, batch_aux, scratch;
  };
  struct Chunk {
    int first, samples;
  };
  struct Run {
    const CoreBatch& batch;
    const StepKey& key;
    bool training;
    const NodeArrays& prepared;
  };

  BoundStep bind(const Step&) const;
  Place place(const Step&, const BufferName&) const;
  Place value_place(const Step&,
                    TensorId) const;  // of a value as it was stored, or as the pass made it again
  std::byte* at(const Place&, const Run&, const Chunk&) const;
  void bind_params(const Parameters&, std::span<real> gradients);
  void walk(const Run&, EventSource&);
  std::span<real* const> gradients_of(const Node&) const;
  template <class Call>
  Call prepare(const Step&, const BoundStep&, const Run&, const Chunk&);
  void forward(const Step&, const BoundStep&, const Run&, const Chunk&);
  void backward(const Step&, const BoundStep&, const Run&, const Chunk&);
  void poison(const Step&, const BoundStep&, const Run&, const Chunk&);

  const Network& network_;
  Dataflow flow_;
  Program program_;
  MemoryPlan plan_;
  std::shared_ptr<Arena> arena_;
  NodeArrays accumulators_;
  std::vector<std::vector<BoundStep>> bound_;  ///< [pass][step]
  std::vector<const real*> params_, states_;   ///< by index in Network::params() and states()
  std::vector<real*> gradients_;
  std::vector<const real*> x_;  ///< arguments of the call being made
  std::vector<real*> dx_;
};

}  // namespace mbs
