// DRAM traffic as a sum of terms: each is a number of bits that moves if a span of nodes runs in one pass.
// What a layer reads or writes is a term of its own node alone; what stays on chip is a negative term over
// the span from who leaves it there to who finds it. So the traffic of a schedule is a sum over its passes,
// and that of all groups that a network can be cut into is a table (mbs/planner.cpp).
#pragma once

#include <span>
#include <vector>

#include "engine/network.h"
#include "mbs/traffic.h"

namespace mbs {

struct TrafficTerm {
  /// What it is multiplied by: every sample of the batch, every chunk of the pass, every chunk but the first.
  enum class Per : uint8_t { sample, chunk, later_chunk };

  TrafficClass traffic_class;
  bool write;
  Phase phase;         ///< the direction of the pass that must hold the span
  NodeId first, last;  ///< the span, first <= last
  Per per;
  int64_t bits;  ///< negative: a pass that holds the span saves them
};

/// What the passes of a group keep on chip, forward and backward, and what the backward one makes again.
struct Keeping {
  Reuse forward = Reuse::none, backward = Reuse::none;
  Recompute recompute = Recompute::nothing;
  bool operator==(const Keeping&) const = default;
};

/// All terms of a network of which every group keeps the same. `training`: the schedule has backward passes.
/// `kept`: as in the schedule. Where something is made again, groups must begin at layers with matrix
/// products (see can_begin_recomputing()).
std::vector<TrafficTerm> traffic_terms(const Network&, const Keeping&, const TrafficRules&, bool training,
                                       std::span<const TensorId> kept = {});

/// Whether a group that makes values again, or one after it, may begin at node n: what crosses the boundary
/// there is then read by a layer with matrix products, which needs it in its backward call.
bool can_begin_recomputing(const Network&, NodeId n);

}  // namespace mbs
