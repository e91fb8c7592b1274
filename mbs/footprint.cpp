#include "mbs/footprint.h"

#include <algorithm>
#include <map>

namespace mbs {
namespace {

struct Rules {
  const Network& network;
  Space space;
  Sharing sharing;

  int64_t elems(TensorId t) const { return network.tensor(t).shape.elems(); }

  // Writing over an input destroys it, so nobody else may need it. Without sharing between branches the
  // others read their copy from DRAM.
  bool works_in_place(const Node& node) const {
    const bool last_use = sharing == Sharing::within_branch || network.tensor(node.in[0]).uses.size() == 1;
    return space == Space::in_place && node.layer->in_place() && last_use;
  }

  // In + out of one layer.
  int64_t layer_elems(const Node& node) const {
    const int64_t out = elems(node.out);
    if (node.layer->concatenates()) return sharing == Sharing::across_branches ? out : 0;  // moves nothing
    int64_t in = 0;
    for (TensorId t : node.in)
      in = sharing == Sharing::across_branches ? in + elems(t) : std::max(in, elems(t));
    return works_in_place(node) ? std::max(in, out) : in + out;
  }
};

int64_t largest_layer(const Rules& rules, const Block& block) {
  int64_t largest = 0;
  for (NodeId n = block.first; n <= block.last; ++n)
    largest = std::max(largest, rules.layer_elems(rules.network.node(n)));
  return largest;
}

// The first tensor from outside that the block reads.
TensorId block_input(const Network& network, const Block& block) { return network.node(block.first).in[0]; }

// The node that merges the branches; without one, the last node of the block.
NodeId merge_node(const Network& network, const Block& block) {
  for (NodeId n = block.first; n <= block.last; ++n)
    if (network.node(n).branch == kJoin) return n;
  return block.last;
}

int64_t residual(const Rules& rules, const Block& block) {
  const Network& network = rules.network;
  const int64_t block_in = rules.elems(block_input(network, block));
  const int64_t block_out = rules.elems(network.node(merge_node(network, block)).out);
  int64_t largest = 0;
  for (NodeId n = block.first; n <= block.last; ++n) {
    const Node& node = network.node(n);
    int64_t kept = 0;  // what other branches still need
    if (node.branch == 0 && n != block.first) kept = block_in;
    if (node.branch > 0) kept = block_out;
    largest = std::max(largest, rules.layer_elems(node) + kept);
  }
  return largest;
}

// Tensors private to a branch: not the block's input, and not written into the block's output. Layers that
// work in place give their output the storage of their input, so a chain of them at the end of a branch lies
// in the block's output as a whole.
class PrivateTensors {
 public:
  PrivateTensors(const Rules& rules, const Block& block, NodeId merge) : rules_(rules), block_(block) {
    for (NodeId n = merge - 1; n >= block.first; --n) {
      const Node& node = rules.network.node(n);
      const bool alias = rules.works_in_place(node) && made_inside(node.in[0]);
      storage_[node.out] = alias ? node.in[0] : node.out;
    }
    for (TensorId t : rules.network.node(merge).in)
      if (made_inside(t)) in_output_[root(t)] = true;
    for (NodeId n = block.first; n < merge; ++n) {
      Life& life = lives_.try_emplace(root(rules.network.node(n).out), Life{n, n}).first->second;
      for (Use use : rules.network.tensor(rules.network.node(n).out).uses)
        life.last = std::max(life.last, use.node);
    }
  }

  // Elements alive while node n runs.
  int64_t alive(NodeId n) const {
    int64_t sum = 0;
    for (const auto& [t, life] : lives_)
      if (life.first <= n && n <= life.last && !in_output_.contains(t)) sum += rules_.elems(t);
    return sum;
  }

 private:
  struct Life {
    NodeId first, last;
  };

  bool made_inside(TensorId t) const { return rules_.network.tensor(t).producer >= block_.first; }
  TensorId root(TensorId t) const {
    while (storage_.at(t) != t) t = storage_.at(t);
    return t;
  }

  const Rules& rules_;
  const Block& block_;
  std::map<TensorId, TensorId> storage_;
  std::map<TensorId, bool> in_output_;
  std::map<TensorId, Life> lives_;
};

int64_t inception(const Rules& rules, const Block& block) {
  const Network& network = rules.network;
  const NodeId merge = merge_node(network, block);
  const int64_t block_in = rules.elems(block_input(network, block));
  const int64_t block_out = rules.elems(network.node(merge).out);
  const PrivateTensors tensors(rules, block, merge);
  int64_t inside = 0, after = 0;
  for (NodeId n = block.first; n < merge; ++n) inside = std::max(inside, tensors.alive(n));
  for (NodeId n = merge + 1; n <= block.last; ++n)
    after = std::max(after, rules.layer_elems(network.node(n)));
  return std::max(block_in + block_out + inside, after);
}

}  // namespace

int64_t footprint_elems(const Network& network, const Block& block, Space space, Sharing sharing) {
  const Rules rules{network, space, sharing};
  if (sharing == Sharing::across_branches) {
    if (block.kind == Block::Kind::residual) return residual(rules, block);
    if (block.kind == Block::Kind::inception) return inception(rules, block);
  }
  return largest_layer(rules, block);
}

int64_t layer_footprint_elems(const Network& network, const Node& node, Space space) {
  return Rules{network, space, Sharing::within_branch}.layer_elems(node);
}

int64_t footprint_bytes(const Network& network, const Block& block, Space space, Sharing sharing,
                        int feature_bits) {
  return (footprint_elems(network, block, space, sharing) * feature_bits + 7) / 8;
}

}  // namespace mbs
