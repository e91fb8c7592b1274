#include "layers/fusion.h"

#include <algorithm>
#include <array>

#include "engine/check.h"

namespace mbs {
namespace {

constexpr std::array<std::string_view, 3> kTakeRelu = {"group_norm", "batch_norm", "add"};

Spec spec_of(const Node& node) { return Spec::parse(node.spec); }

bool is_relu(const Node& node) { return spec_of(node).layer() == "relu"; }

// Whether the node is a ReLU that the layer before it can do.
bool joins_its_producer(const Network& network, const Node& relu) {
  if (!is_relu(relu)) return false;
  const TensorInfo& x = network.tensor(relu.in[0]);
  if (x.producer < 0 || x.uses.size() != 1) return false;
  const Spec spec = spec_of(network.node(x.producer));
  return std::find(kTakeRelu.begin(), kTakeRelu.end(), spec.layer()) != kTakeRelu.end() &&
         spec.int_or("relu", 0) == 0;
}

// Whether the node's only reader is a ReLU that joins it.
bool takes_relu(const Network& network, const Node& node) {
  const std::vector<Use>& uses = network.tensor(node.out).uses;
  return uses.size() == 1 && joins_its_producer(network, network.node(uses[0].node));
}

/// Builds modules and branches after the pattern of another network.
class ModuleCopier {
 public:
  ModuleCopier(const Network& from, Network& to) : from_(from), to_(to) {}

  /// Brings `to` to the module and branch of a node that is about to be added.
  void enter(const Node& node) {
    if (node.block != block_) {
      leave();
      const Block& block = from_.blocks()[static_cast<size_t>(node.block)];
      block_ = node.block;
      branch_ = 0;
      open_ = block.kind != Block::Kind::plain || block.first != block.last;
      if (open_) to_.begin_block(block.name, block.kind);
    }
    if (!open_) return;
    if (node.branch == kJoin && branch_ != kJoin) to_.join();
    for (; node.branch != kJoin && branch_ < node.branch; ++branch_) to_.next_branch();
    branch_ = node.branch;
  }

  /// Closes the module that is open.
  void leave() {
    if (open_) to_.end_block();
    open_ = false;
  }

 private:
  const Network& from_;
  Network& to_;
  int block_ = -1, branch_ = 0;
  bool open_ = false;
};

}  // namespace

Network fuse_relu(const Network& network) {
  Network fused(network.name(), network.tensor(network.input()).shape);
  ModuleCopier modules(network, fused);
  std::vector<TensorId> now(network.tensors().size(),
                            -1);  // the tensor of `fused` that holds the same values
  now[static_cast<size_t>(network.input())] = fused.input();
  for (const Node& node : network.nodes()) {
    std::vector<TensorId> in;
    for (TensorId t : node.in) in.push_back(now[static_cast<size_t>(t)]);
    TensorId& out = now[static_cast<size_t>(node.out)];
    if (joins_its_producer(network, node)) {
      out = in[0];
      continue;
    }
    modules.enter(node);
    out = fused.add(node.name, takes_relu(network, node) ? node.spec + " relu=1" : node.spec, in);
  }
  modules.leave();
  CHECK(fused.output() == now[static_cast<size_t>(network.output())], "fusion changed the output of '{}'",
        network.name());
  return fused;
}

}  // namespace mbs
