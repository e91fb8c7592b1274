// What every group that a network can be cut into moves, from the terms of the traffic (mbs/traffic_terms.h):
// a group [i, j] moves the sum of the terms whose span lies in it. All groups together take O(terms +
// blocks^2).
#pragma once

#include <array>
#include <vector>

#include "mbs/planner.h"
#include "mbs/traffic_terms.h"

namespace mbs {

/// What the passes of a group keep in a treatment (layerwise: of the layers that do not fit).
Keeping keeping_of(Treatment);

/// DRAM bits of all groups of consecutive blocks in one treatment.
class GroupCosts {
 public:
  GroupCosts(const Network&, const PlanOptions&, Treatment);

  /// Bits that blocks [first, last] move in a training step in `iterations` chunks, with cuts before and
  /// after them.
  int64_t bits(int first, int last, int iterations) const;

 private:
  int64_t& at(std::vector<int64_t>& table, int first, int last) const;

  int blocks_, batch_;
  std::array<std::vector<int64_t>, 3> tables_;  ///< by TrafficTerm::Per: [first][last]
};

/// The runs of nodes of [first, last] that a layerwise group makes a pass of, first to last: neighbours whose
/// input and output fit the buffer with the whole batch (Reuse::chain), and every other node by itself
/// (Reuse::none).
std::vector<Pass> layerwise_runs(const Network&, const PlanOptions&, NodeId first, NodeId last);

}  // namespace mbs
