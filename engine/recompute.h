// Which values a backward pass can make again instead of reading them from DRAM.
//
// A layer without matrix products is cheap. If everything that it reads is stored anyway, or can itself be
// made again, its output need not be stored: a norm's input must be stored for the norm's own backward, so
// norm and ReLU after it can be computed again from that one tensor, and the input of the next convolution
// never leaves the chip. A 1x1 convolution that widens its input, such as the last one of a bottleneck, makes
// more values from fewer: to make them again takes few operations for the room that they would take.
#pragma once

#include <span>
#include <vector>

#include "engine/dataflow.h"
#include "engine/schedule.h"

namespace mbs {

class Recomputation {
 public:
  /// What a pass with this setting would make again if it held the whole network; `kept`: what it must not.
  Recomputation(const Network&, const Dataflow&, Recompute, std::span<const TensorId> kept = {});

  /// Whether the value of `t` can be made again.
  bool possible(TensorId t) const { return possible_[static_cast<size_t>(t)] != 0; }
  /// Whether the backward call of some layer reads the value of `t`.
  bool read_by_backward(TensorId t) const { return read_[static_cast<size_t>(t)] != 0; }

  /// The nodes whose outputs a backward pass over nodes [first, last] makes again: those that its layers
  /// need, directly or to make others. By node.
  std::vector<uint8_t> in_pass(NodeId first, NodeId last) const;

 private:
  const Network& network_;
  const Dataflow& flow_;
  std::vector<uint8_t> possible_, read_;  // by tensor
};

}  // namespace mbs
