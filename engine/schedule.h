// The execution order as a value.
//
//   for pass in schedule                    tensors that cross this line hold the whole mini-batch: they live
//   in DRAM
//     for chunk in pass                     (a chunk = one sub-batch)
//       -------------------------------------------------------------------------------------------
//       tensors made and used inside hold sub_batch samples and may stay on chip / in cache
//       for node in pass                    last to first when backward
//         one step = one kernel call = one KernelEvent
#pragma once

#include <string>
#include <vector>

#include "engine/network.h"

namespace mbs {

/// What a backward pass computes again on chip instead of reading it from DRAM (engine/recompute.h).
enum class Recompute : uint8_t {
  nothing,
  branches,    ///< outputs of layers with one input and no matrix product (norm, ReLU, pooling)
  joins,       ///< the same, and of those that join branches (add, concat)
  expansions,  ///< the same, and of 1x1 convolutions with more outputs than inputs
};

/// A span of nodes that is walked chunk by chunk.
struct Pass {
  Phase phase = Phase::forward;
  NodeId first = 0, last = 0;  ///< nodes [first, last], first <= last in either direction
  int sub_batch = 1;           ///< samples of a chunk; the last chunk of a batch may be smaller
  Reuse reuse =
      Reuse::none;  ///< what stays on chip between its steps; changes what is counted, not what is computed
  Recompute recompute = Recompute::nothing;  ///< backward passes only

  int chunks(int samples) const { return (samples + sub_batch - 1) / sub_batch; }
  bool operator==(const Pass&) const = default;
};

/// An order of one training step of one core: forward passes first to last node, then backward passes last to
/// first.
struct Schedule {
  std::string order;  ///< what made it: "baseline", "mbs2", ...
  int batch = 1;      ///< samples of the core
  std::vector<Pass> passes;
  std::vector<TensorId> kept = {};  ///< stored, although some backward pass could make them again

  bool operator==(const Schedule&) const = default;
};

/// The usual order: every layer over the whole batch before the next one.
Schedule layer_by_layer(const Network&, int batch);
/// One group from first to last node in chunks of `sub_batch`.
Schedule forward_only(const Network&, int batch, int sub_batch);

/// Error: passes that do not cover the network once in each direction in order (a schedule without backward
/// passes is for inference), a sub-batch outside [1, batch], or a split of a layer that couples samples; the
/// message names the node, the pass and the rule.
void validate(const Network&, const Schedule&);

/// One line per pass: `forward   conv1 .. layer1.2.relu2    8 samples x 8 chunks`.
std::string to_text(const Network&, const Schedule&);

}  // namespace mbs
