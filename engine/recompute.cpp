#include "engine/recompute.h"

#include <algorithm>

namespace mbs {
namespace {

// Whether a layer is a product of each pixel's values with one matrix that has more columns than rows.
bool expands(const Network& network, const Node& node, std::span<const GemmShape> gemms) {
  if (gemms.size() != 1 || node.in.size() != 1) return false;
  const GemmShape& gemm = gemms[0];
  const bool pixels_apart = gemm.m * gemm.k <= network.tensor(node.in[0]).shape.elems();
  return pixels_apart && gemm.n > gemm.k;
}

bool cheap(const Network& network, const Node& node, Recompute recompute) {
  const Layer& layer = *node.layer;
  if (recompute == Recompute::nothing || (recompute == Recompute::branches && node.in.size() > 1))
    return false;
  // What couples samples would have to be made again for the whole batch.
  if (layer.is_loss() || layer.couples_samples()) return false;
  const std::vector<GemmShape> gemms = layer.gemms(Phase::forward, 1, false);
  return gemms.empty() || (recompute == Recompute::expansions && expands(network, node, gemms));
}

// The values that the backward call of a node reads.
std::vector<TensorId> backward_reads(const Network& network, const Dataflow& flow, NodeId n) {
  std::vector<TensorId> reads;
  if (!flow.has_backward(n)) return reads;
  const Node& node = network.node(n);
  const Needs needs = node.layer->needs(node.wants_dx);
  if (needs.x) reads = node.in;
  if (needs.y) reads.push_back(node.out);
  return reads;
}

}  // namespace

Recomputation::Recomputation(const Network& network, const Dataflow& flow, Recompute recompute,
                             std::span<const TensorId> kept)
    : network_(network), flow_(flow), possible_(network.tensors().size()), read_(network.tensors().size()) {
  for (NodeId n = 0; n < network.node_count(); ++n)
    for (TensorId t : backward_reads(network, flow, n)) read_[static_cast<size_t>(t)] = 1;
  for (const Node& node : network.nodes()) {
    const bool inputs_at_hand = std::all_of(node.in.begin(), node.in.end(), [&](TensorId t) {
      return possible(t) || read_by_backward(t) || t == network.input();
    });
    possible_[static_cast<size_t>(node.out)] = cheap(network, node, recompute) && inputs_at_hand &&
                                               std::find(kept.begin(), kept.end(), node.out) == kept.end();
  }
}

std::vector<uint8_t> Recomputation::in_pass(NodeId first, NodeId last) const {
  std::vector<uint8_t> made(static_cast<size_t>(network_.node_count()), 0);
  const auto need = [&](TensorId t) {
    const NodeId producer = network_.tensor(t).producer;
    if (possible(t) && producer >= first && producer <= last) made[static_cast<size_t>(producer)] = 1;
  };
  // A need comes from a later node, so one walk from the last to the first finds all.
  for (NodeId n = last; n >= first; --n) {
    for (TensorId t : backward_reads(network_, flow_, n)) need(t);
    if (made[static_cast<size_t>(n)] == 0) continue;
    for (TensorId t : network_.node(n).in) need(t);
  }
  return made;
}

}  // namespace mbs
