// DRAM traffic as a sum of terms: each is a number of bits that moves if a span of nodes runs in one pass.
// What a layer reads or writes is a term of its own node alone; what stays on chip is a negative term over
// the span from who leaves it there to who finds it. So the traffic of a schedule is a sum over its passes,
// and that of all groups that a network can be cut into is a table (mbs/planner.cpp).
#pragma once

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

/// All terms of passes that keep on chip what `reuse` says. `training`: the schedule has backward passes.
std::vector<TrafficTerm> traffic_terms(const Network&, Reuse reuse, const TrafficRules&, bool training);

}  // namespace mbs
