// What the graph alone says about who hands data to whom, derived anew for the prediction of traffic: the
// engine's own answers (engine/dataflow.h) stamp the events that the prediction is held against.
#pragma once

#include <vector>

#include "engine/network.h"

namespace mbs {

/// Who finds data on chip that somebody else left there.
struct HandOver {
  NodeId maker, reader;
  bool chained;  ///< the reader follows next in the maker's branch
};

/// `training`: there are backward passes.
class TrafficGraph {
 public:
  TrafficGraph(const Network& network, bool training) : network_(network), training_(training) {}

  const Layer& layer(NodeId n) const { return *network_.node(n).layer; }
  bool concat(NodeId n) const { return n >= 0 && layer(n).concatenates(); }
  Needs needs(NodeId n) const { return layer(n).needs(network_.node(n).wants_dx); }
  TensorId input_of(const Use& use) const {
    return network_.node(use.node).in[static_cast<size_t>(use.input)];
  }
  const std::vector<Use>& uses(TensorId t) const { return network_.tensor(t).uses; }

  /// A tensor's first consumer follows next in its branch. A merge follows the first operand of which that is
  /// so.
  bool chained(const Use&) const;
  /// Reads of `t`, also as a part of a concatenation.
  std::vector<Use> reads_of(TensorId t) const;
  /// An add's input has the gradient of its output, in the same place, if nothing has been added to it before
  /// and nothing will be before the gradients of all other inputs have been read.
  bool passed(const Use&) const;
  /// Whether the contribution of a use is made by somebody further up: it is a name for what is there
  /// already.
  bool moves_nothing(const Use& use) const { return concat(use.node) || passed(use); }
  bool has_backward(NodeId) const;

  /// The uses of t in the order in which they contribute to its gradient.
  std::vector<Use> contributions(TensorId t) const;
  /// The last step that writes what a contribution is, with the flag of the way from there to its tensor.
  HandOver maker_of(const Use&) const;
  /// Under which name the gradient of t lies in memory.
  TensorId place_of(TensorId t) const;
  /// Appends the reads of what stands in the gradient of an input once `use` has contributed.
  void add_readers(const Use& use, bool is_chained, NodeId maker, std::vector<HandOver>& found) const;

 private:
  const Network& network_;
  const bool training_;
};

}  // namespace mbs
