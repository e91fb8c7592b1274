#include "engine/dataflow.h"

#include <algorithm>

#include "engine/check.h"

namespace mbs {

Dataflow::Dataflow(const Network& network) : network_(network) {
  for (const Node& node : network.nodes()) {
    passed_.emplace_back(node.in.size(), uint8_t{0});
    has_backward_.push_back(node.wants_dx || node.params > 0);
  }
  for (NodeId n = network.node_count() - 1; n >= 0; --n) {
    if (network.node(n).layer->passes_gradient()) pass_gradients(n);
  }
}

// Decides for each input of `add` whether its gradient shares the buffer of the output's gradient.
void Dataflow::pass_gradients(NodeId add) {
  const Node& node = network_.node(add);
  bool all = true;
  for (size_t i = 0; i < node.in.size(); ++i) {
    const TensorId t = node.in[i];
    if (!network_.wants_gradient(t)) continue;
    const bool pass = safe_to_share(add, t);
    passed_[static_cast<size_t>(add)][i] = pass;
    all = all && pass;
  }
  if (all) has_backward_[static_cast<size_t>(add)] = false;
}

// The gradient of `t` may share the buffer of the gradient of add's output if `add` is the first to
// contribute to it, and if every other input's gradient has been read before anything is added for t.
bool Dataflow::safe_to_share(NodeId add, TensorId t) const {
  const std::vector<Use>& uses = network_.tensor(t).uses;
  if (uses.back().node != add) return false;
  if (uses.size() == 1) return true;
  const NodeId first_to_add = uses[uses.size() - 2].node;  // in backward order; itself if it reads t twice
  if (first_to_add == add) return false;
  for (TensorId other : network_.node(add).in) {
    if (other == t || !network_.wants_gradient(other)) continue;
    const TensorInfo& info = network_.tensor(other);
    const bool read_before = info.uses.size() == 1 && info.producer > first_to_add &&
                             !network_.node(info.producer).layer->passes_gradient();
    if (!read_before) return false;
  }
  return true;
}

bool Dataflow::chained(const Use& use) const {
  const Node& node = network_.node(use.node);
  const auto follows = [&](TensorId t) {
    const TensorInfo& info = network_.tensor(t);
    const bool part_of_concat = info.producer >= 0 && network_.node(info.producer).layer->concatenates();
    return info.uses.front().node == use.node && !part_of_concat;
  };
  for (int i = 0; i < use.input; ++i) {
    if (follows(node.in[static_cast<size_t>(i)])) return false;
  }
  return follows(in(use));
}

std::vector<NodeId> Dataflow::writers(TensorId t) const {
  const NodeId producer = network_.tensor(t).producer;
  if (producer < 0) return {};
  if (!network_.node(producer).layer->concatenates()) return {producer};
  std::vector<NodeId> all;
  for (TensorId part : network_.node(producer).in) {
    for (NodeId n : writers(part)) all.push_back(n);
  }
  return all;
}

std::vector<Reader> Dataflow::readers(TensorId t) const {
  std::vector<Reader> all;
  for (const Use& use : network_.tensor(t).uses) {
    const Node& node = network_.node(use.node);
    if (!node.layer->concatenates()) {
      all.push_back({use.node, chained(use), t});
      continue;
    }
    for (const Reader& reader : readers(node.out)) all.push_back({reader.node, false, reader.whole});
  }
  return all;
}

bool Dataflow::passed(const Use& use) const {
  return passed_[static_cast<size_t>(use.node)][static_cast<size_t>(use.input)] != 0;
}

TensorId Dataflow::gradient_root(TensorId t) const {
  const std::vector<Use>& uses = network_.tensor(t).uses;
  if (uses.empty() || !passed(uses.back())) return t;
  return gradient_root(network_.node(uses.back().node).out);
}

std::vector<Use> Dataflow::contributions(TensorId t) const {
  std::vector<Use> uses = network_.tensor(t).uses;
  std::sort(uses.begin(), uses.end(), [](const Use& a, const Use& b) {
    return a.node != b.node ? a.node > b.node : a.input < b.input;
  });
  return uses;
}

bool Dataflow::adds(const Use& use) const { return !(contributions(in(use)).front() == use); }

Reader Dataflow::gradient_writer(TensorId t) const {
  const std::vector<Use> all = contributions(t);
  if (all.empty()) return {-1, false};
  const Use last = all.back();
  const Node& node = network_.node(last.node);
  if (!passed(last) && !node.layer->concatenates()) return {last.node, chained(last)};
  const Reader writer = gradient_writer(node.out);
  return {writer.node, writer.chained && chained(last)};
}

NodeId Dataflow::sum_writer(const Use& use) const {
  const std::vector<Use> all = contributions(in(use));
  const auto it = std::find(all.begin(), all.end(), use);
  CHECK(it != all.begin() && it != all.end(), "node {} adds to no sum", use.node);
  const Use before = *(it - 1);
  const Node& node = network_.node(before.node);
  return passed(before) || node.layer->concatenates() ? gradient_writer(node.out).node : before.node;
}

std::vector<Reader> Dataflow::gradient_readers(const Use& use) const {
  std::vector<Reader> found;
  part_readers(use, chained(use), found);
  return found;
}

// Readers of what `use` contributes: the next contribution adds to it, or it is the whole gradient.
void Dataflow::part_readers(const Use& use, bool is_chained, std::vector<Reader>& found) const {
  const std::vector<Use> all = contributions(in(use));
  const auto next = std::find(all.begin(), all.end(), use) + 1;
  if (next != all.end())
    found.push_back({next->node, false});
  else
    final_readers(in(use), is_chained, found);
}

void Dataflow::final_readers(TensorId t, bool is_chained, std::vector<Reader>& found) const {
  const NodeId producer = network_.tensor(t).producer;
  const Node& node = network_.node(producer);
  const bool concat = node.layer->concatenates();
  if (has_backward(producer) && !concat) found.push_back({producer, is_chained});
  for (int i = 0; i < static_cast<int>(node.in.size()); ++i) {
    const Use part{producer, i};
    if (!network_.wants_gradient(in(part))) continue;
    if (concat || passed(part)) part_readers(part, is_chained && !concat && chained(part), found);
  }
}

}  // namespace mbs
