// Working arrays that nodes keep from chunk to chunk: prepared parameters, gradient accumulators.
#pragma once

#include <vector>

#include "engine/arena.h"
#include "engine/network.h"
#include "engine/program.h"

namespace mbs {

/// One block of memory with a part for each node, aligned to a cache line; all zeros at first.
class NodeArrays {
 public:
  /// `elems`: of each node's part, 0: none. Nodes whose `turns` differ share memory: they use it one after
  /// the other. Error: the system has not that much memory.
  NodeArrays(const std::vector<int64_t>& elems, const std::vector<int>& turns);

  /// Null where the node has no part.
  real* of(NodeId n) const {
    const int64_t offset = offsets_[static_cast<size_t>(n)];
    return offset < 0 ? nullptr : reinterpret_cast<real*>(arena_.data()) + offset;
  }
  /// The nodes that have a part, in order.
  const std::vector<NodeId>& nodes() const { return nodes_; }
  int64_t bytes() const { return arena_.bytes(); }

 private:
  std::vector<int64_t> offsets_;
  std::vector<NodeId> nodes_;
  Arena arena_;
};

/// Room for what each layer prepares of its parameters (Needs::prepared_elems).
NodeArrays prepared_arrays(const Network&);
/// Room for the gradient accumulators of one core (Needs::accumulator_elems). They are needed from the first
/// to the last chunk of a node's backward pass; without backward passes there are none.
NodeArrays accumulator_arrays(const Network&, const Program&);

}  // namespace mbs
