#include "mbs/traffic_graph.h"

#include <algorithm>

namespace mbs {

bool TrafficGraph::chained(const Use& use) const {
  const Node& node = network_.node(use.node);
  const auto first = std::find_if(node.in.begin(), node.in.end(), [&](TensorId t) {
    return uses(t).front().node == use.node && !concat(network_.tensor(t).producer);
  });
  return first - node.in.begin() == use.input;
}

std::vector<Use> TrafficGraph::reads_of(TensorId t) const {
  std::vector<Use> found;
  for (const Use& use : uses(t)) {
    if (!concat(use.node)) {
      found.push_back(use);
      continue;
    }
    const std::vector<Use> of_whole = reads_of(network_.node(use.node).out);
    found.insert(found.end(), of_whole.begin(), of_whole.end());
  }
  return found;
}

bool TrafficGraph::passed(const Use& use) const {
  const std::vector<Use>& all = uses(input_of(use));
  if (!layer(use.node).passes_gradient() || all.back().node != use.node) return false;
  if (all.size() == 1) return true;
  const NodeId next_to_add = all[all.size() - 2].node;
  const std::vector<TensorId>& in = network_.node(use.node).in;
  return next_to_add != use.node && std::all_of(in.begin(), in.end(), [&](TensorId other) {
           if (other == input_of(use) || !network_.wants_gradient(other)) return true;
           const NodeId producer = network_.tensor(other).producer;
           return uses(other).size() == 1 && producer > next_to_add && !layer(producer).passes_gradient();
         });
}

bool TrafficGraph::has_backward(NodeId n) const {
  const Node& node = network_.node(n);
  if (!training_ || concat(n)) return false;
  if (!layer(n).passes_gradient()) return node.wants_dx || node.params > 0;
  for (int i = 0; i < static_cast<int>(node.in.size()); ++i) {
    if (network_.wants_gradient(input_of({n, i})) && !passed({n, i})) return true;
  }
  return false;
}

std::vector<Use> TrafficGraph::contributions(TensorId t) const {
  std::vector<Use> order = uses(t);
  std::stable_sort(order.begin(), order.end(), [](const Use& a, const Use& b) { return a.node > b.node; });
  return order;
}

HandOver TrafficGraph::maker_of(const Use& use) const {
  if (!moves_nothing(use)) return {use.node, -1, chained(use)};
  HandOver h = maker_of(contributions(network_.node(use.node).out).back());
  h.chained = h.chained && chained(use);
  return h;
}

TensorId TrafficGraph::place_of(TensorId t) const {
  return uses(t).empty() || !passed(uses(t).back()) ? t : place_of(network_.node(uses(t).back().node).out);
}

void TrafficGraph::add_readers(const Use& use, bool is_chained, NodeId maker,
                               std::vector<HandOver>& found) const {
  const std::vector<Use> order = contributions(input_of(use));
  const auto next = std::find(order.begin(), order.end(), use) + 1;
  if (next != order.end()) {
    found.push_back({maker, next->node, false});
    return;
  }
  const NodeId producer = network_.tensor(input_of(use)).producer;
  if (has_backward(producer)) found.push_back({maker, producer, is_chained});
  for (int i = 0; i < static_cast<int>(network_.node(producer).in.size()); ++i) {
    const Use through{producer, i};
    if (network_.wants_gradient(input_of(through)) && moves_nothing(through))
      add_readers(through, is_chained && chained(through), maker, found);
  }
}

}  // namespace mbs
