// What the graph alone says about who hands data to whom, forward and backward, whatever the schedule.
//
// Two layers move data without computing, and their data keep one place under two names:
// * add (Layer::passes_gradient): the gradient of each input is the gradient of its output. Where that is
// safe no
//   backward call is made and both gradients share one buffer; a second consumer's contribution is added into
//   it.
// * concat (Layer::concatenates): its inputs are parts of its output, and so are their gradients. The engine
// copies;
//   the events follow the parts, because a machine writes them in place.
#pragma once

#include <vector>

#include "engine/network.h"

namespace mbs {

/// A node at the other end of a hand-over.
struct Reader {
  NodeId node;
  bool chained;         ///< it is the next layer of the same branch
  TensorId whole = -1;  ///< forward: the tensor that it reads, of which the data may be a part
};

class Dataflow {
 public:
  explicit Dataflow(const Network&);

  // Forward.

  /// Whether node `use.node` follows next in the branch that makes its input: it is the tensor's first
  /// consumer, and this is the first of its inputs of which that is true. Never for the output of a concat.
  bool chained(const Use&) const;
  /// The nodes that compute `t`; several where it is a concatenation, none for the network's input.
  std::vector<NodeId> writers(TensorId t) const;
  /// The nodes that read `t` in forward, also as a part of a concatenation.
  std::vector<Reader> readers(TensorId t) const;

  // Backward.

  /// Whether the gradient of input `use.input` of `use.node` is that of the node's output: one buffer.
  bool passed(const Use&) const;
  /// The tensor whose gradient buffer holds the gradient of `t`.
  TensorId gradient_root(TensorId t) const;
  /// Whether a node has a backward call.
  bool has_backward(NodeId n) const { return has_backward_[static_cast<size_t>(n)] != 0; }
  /// The uses of `t`, in the order in which they contribute to its gradient: last node first.
  std::vector<Use> contributions(TensorId t) const;
  /// Whether the contribution of `use` is added to earlier ones (otherwise it is assigned).
  bool adds(const Use&) const;
  /// The node whose contribution completes the gradient of `t`, and whether t's producer follows next in the
  /// branch. Node -1: none (the output of the network).
  Reader gradient_writer(TensorId t) const;
  /// The node that wrote the sum to which the contribution of `use` is added.
  NodeId sum_writer(const Use&) const;
  /// Who reads what the contribution of `use` leaves behind.
  std::vector<Reader> gradient_readers(const Use&) const;

 private:
  TensorId in(const Use& use) const { return network_.node(use.node).in[static_cast<size_t>(use.input)]; }
  void pass_gradients(NodeId add);
  bool safe_to_share(NodeId add, TensorId t) const;
  void final_readers(TensorId t, bool chained, std::vector<Reader>& found) const;
  void part_readers(const Use& part, bool chained, std::vector<Reader>& found) const;

  const Network& network_;
  std::vector<std::vector<uint8_t>> passed_;  ///< [node][input]
  std::vector<uint8_t> has_backward_;
};

}  // namespace mbs
