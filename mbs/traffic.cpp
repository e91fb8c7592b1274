#include "mbs/traffic.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>

#include "engine/check.h"

namespace mbs {
namespace {

// Who finds data on chip that somebody else left there. `maker` -1: the data come from outside.
struct HandOver {
  NodeId maker, reader;
  bool chained;  // the reader follows next in the maker's branch
};

// Sums bits over tensors. All features of one tensor move for every sample of the batch once per read or
// write, so chunks appear only where parameters are read again.
class Predictor {
 public:
  Predictor(const Network& network, const Schedule& schedule, const TrafficRules& rules)
      : network_(network), schedule_(schedule), rules_(rules) {
    for (std::vector<int>& passes : pass_of_) passes.assign(static_cast<size_t>(network.node_count()), -1);
    for (size_t p = 0; p < schedule.passes.size(); ++p) {
      const Pass& pass = schedule.passes[p];
      for (NodeId n = pass.first; n <= pass.last; ++n)
        pass_of_[static_cast<size_t>(pass.phase)][static_cast<size_t>(n)] = static_cast<int>(p);
    }
    training_ = schedule.passes.back().phase == Phase::backward;
  }

  Traffic predict() {
    for (TensorId t = 0; t < static_cast<int>(network_.tensors().size()); ++t) feature_reads(t);
    for (NodeId n = 0; n < network_.node_count(); ++n) {
      if (!concat(n)) feature_write(n);
      parameters(n);
      if (!has_backward(n)) continue;
      kept_for_backward(n);
      gradient_read(n);
    }
    if (training_) {
      for (TensorId t = 0; t < static_cast<int>(network_.tensors().size()); ++t) gradient_contributions(t);
    }
    Traffic total;
    for (size_t c = 0; c < kTrafficClasses; ++c) {
      total.read_bytes[c] = (read_bits_[c] + 7) / 8;
      total.write_bytes[c] = (write_bits_[c] + 7) / 8;
    }
    return total;
  }

 private:
  // --- the graph ---

  const Layer& layer(NodeId n) const { return *network_.node(n).layer; }
  bool concat(NodeId n) const { return n >= 0 && layer(n).concatenates(); }
  Needs needs(NodeId n) const { return layer(n).needs(network_.node(n).wants_dx); }
  TensorId input_of(const Use& use) const {
    return network_.node(use.node).in[static_cast<size_t>(use.input)];
  }
  const std::vector<Use>& uses(TensorId t) const { return network_.tensor(t).uses; }

  // A tensor's first consumer follows next in its branch. A merge follows the first operand of which that is
  // so.
  bool chained(const Use& use) const {
    const Node& node = network_.node(use.node);
    const auto first = std::find_if(node.in.begin(), node.in.end(), [&](TensorId t) {
      return uses(t).front().node == use.node && !concat(network_.tensor(t).producer);
    });
    return first - node.in.begin() == use.input;
  }

  // Reads of `t`, also as a part of a concatenation.
  std::vector<Use> reads_of(TensorId t) const {
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

  // An add's input has the gradient of its output, in the same place, if nothing has been added to it before
  // and nothing will be before the gradients of all other inputs have been read.
  bool passed(const Use& use) const {
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

  // Whether the contribution of a use is made by somebody further up: it is a name for what is there already.
  bool moves_nothing(const Use& use) const { return concat(use.node) || passed(use); }

  bool has_backward(NodeId n) const {
    const Node& node = network_.node(n);
    if (!training_ || concat(n)) return false;
    if (!layer(n).passes_gradient()) return node.wants_dx || node.params > 0;
    for (int i = 0; i < static_cast<int>(node.in.size()); ++i) {
      if (network_.wants_gradient(input_of({n, i})) && !passed({n, i})) return true;
    }
    return false;
  }

  // --- on chip or not ---

  int pass_of(Phase phase, NodeId n) const {
    return pass_of_[static_cast<size_t>(phase)][static_cast<size_t>(n)];
  }

  bool on_chip(Phase phase, const HandOver& h) const {
    if (schedule_.reuse == Reuse::none || h.maker < 0) return false;
    return pass_of(phase, h.maker) == pass_of(phase, h.reader) &&
           (schedule_.reuse == Reuse::group || h.chained);
  }

  // A concatenation is on chip if all its parts are.
  bool feature_on_chip(TensorId t, const Use& use) const {
    const NodeId producer = network_.tensor(t).producer;
    if (!concat(producer)) return on_chip(Phase::forward, {producer, use.node, chained(use)});
    const std::vector<TensorId>& parts = network_.node(producer).in;
    return schedule_.reuse == Reuse::group &&
           std::all_of(parts.begin(), parts.end(), [&](TensorId part) { return feature_on_chip(part, use); });
  }

  // --- sums ---

  int64_t elems(TensorId t) const { return network_.tensor(t).shape.elems() * schedule_.batch; }
  void read(TrafficClass c, int64_t count, int bits) { read_bits_[static_cast<size_t>(c)] += count * bits; }
  void write(TrafficClass c, int64_t count, int bits) { write_bits_[static_cast<size_t>(c)] += count * bits; }
  int sweeps(int without_chip) const { return schedule_.reuse == Reuse::none ? without_chip : 1; }

  void feature_reads(TensorId t) {
    std::set<int> served;  // passes of which one read from DRAM serves all consumers
    for (const Use& use : uses(t)) {
      if (concat(use.node) || feature_on_chip(t, use)) continue;
      if (schedule_.reuse == Reuse::group && !served.insert(pass_of(Phase::forward, use.node)).second)
        continue;
      read(TrafficClass::features, elems(t) * sweeps(needs(use.node).x_sweeps), rules_.feature_bits);
    }
  }

  bool stored(NodeId producer, const std::vector<Use>& reads) const {
    return (has_backward(producer) && needs(producer).y) ||
           std::any_of(reads.begin(), reads.end(),
                       [&](const Use& use) { return has_backward(use.node) && needs(use.node).x; });
  }

  void feature_write(NodeId n) {
    const TensorId t = network_.node(n).out;
    const std::vector<Use> reads = reads_of(t);
    const bool keep = stored(n, reads);
    const bool all_on_chip = !reads.empty() && std::all_of(reads.begin(), reads.end(), [&](const Use& use) {
      return feature_on_chip(input_of(use), use);
    });
    if (keep || !all_on_chip)
      write(keep ? TrafficClass::stored_features : TrafficClass::features, elems(t), rules_.feature_bits);
  }

  // Stored features, read from DRAM whatever the order, and masks.
  void kept_for_backward(NodeId n) {
    const Node& node = network_.node(n);
    const Needs need = needs(n);
    int64_t count = need.y ? elems(node.out) : 0;
    for (TensorId t : node.in) count += need.x ? elems(t) : 0;
    read(TrafficClass::stored_features, count * sweeps(need.stored_sweeps), rules_.feature_bits);
    int bits = 0;
    if (need.aux_role == Role::relu_mask) bits = 1;
    if (need.aux_role == Role::pool_index) bits = rules_.pool_index_bits;
    write(TrafficClass::masks, elems(node.out), bits);
    read(TrafficClass::masks, elems(node.out), bits);
  }

  // With I chunks: weights I times forward and I times backward; gradients written I times, read I - 1 times.
  void parameters(NodeId n) {
    const Node& node = network_.node(n);
    int64_t count = 0;
    for (int p = 0; p < node.params; ++p)
      count += network_.params()[static_cast<size_t>(node.first_param + p)].elems;
    const auto chunks = [&](Phase phase) -> int64_t {
      return schedule_.passes[static_cast<size_t>(pass_of(phase, n))].chunks(schedule_.batch);
    };
    read(TrafficClass::weights, count * chunks(Phase::forward), rules_.feature_bits);
    if (!training_) return;
    const int64_t back = chunks(Phase::backward);
    // Matrix products need the weights for the data gradient only; a norm needs its scale anyway.
    const bool used = node.wants_dx || layer(n).gemms(Phase::backward, 1, false).empty();
    if (used) read(TrafficClass::weights, count * back, rules_.feature_bits);
    write(TrafficClass::weight_gradients, count * back, rules_.partial_sum_bits);
    read(TrafficClass::weight_gradients, count * (back - 1), rules_.partial_sum_bits);
  }

  // --- gradients of features ---

  // The uses of t in the order in which they contribute to its gradient.
  std::vector<Use> contributions(TensorId t) const {
    std::vector<Use> order = uses(t);
    std::stable_sort(order.begin(), order.end(), [](const Use& a, const Use& b) { return a.node > b.node; });
    return order;
  }

  // The last step that writes what a contribution is, with the flag of the way from there to t.
  HandOver maker_of(const Use& use) const {
    if (!moves_nothing(use)) return {use.node, -1, chained(use)};
    HandOver h = maker_of(contributions(network_.node(use.node).out).back());
    h.chained = h.chained && chained(use);
    return h;
  }

  // Under which name the gradient of t lies in memory.
  TensorId place_of(TensorId t) const {
    return uses(t).empty() || !passed(uses(t).back()) ? t : place_of(network_.node(uses(t).back().node).out);
  }

  // Reads of what stands in the gradient of an input once `use` has contributed.
  void add_readers(const Use& use, bool is_chained, NodeId maker, std::vector<HandOver>& found) const {
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

  void read_gradient(TensorId t, const HandOver& h, int times) {
    if (on_chip(Phase::backward, h)) return;
    const bool first = arrived_.insert({place_of(t), pass_of(Phase::backward, h.reader)}).second;
    if (schedule_.reuse == Reuse::group && !first) return;
    read(TrafficClass::feature_gradients, elems(t) * times, rules_.feature_bits);
  }

  // A layer reads the gradient of its output.
  void gradient_read(NodeId n) {
    if (layer(n).is_loss()) return;
    const TensorId t = network_.node(n).out;
    HandOver h = maker_of(contributions(t).back());
    h.reader = n;
    read_gradient(t, h, sweeps(needs(n).gradient_sweeps));
  }

  // The consumers of t write its gradient: the first assigns, the others add to what is there.
  void gradient_contributions(TensorId t) {
    if (!network_.wants_gradient(t)) return;
    const std::vector<Use> order = contributions(t);
    for (size_t i = 0; i < order.size(); ++i) {
      if (moves_nothing(order[i])) continue;
      const NodeId n = order[i].node;
      if (i > 0) read_gradient(t, {maker_of(order[i - 1]).maker, n, false}, 1);
      std::vector<HandOver> readers;
      add_readers(order[i], chained(order[i]), n, readers);
      const bool all_on_chip = std::all_of(readers.begin(), readers.end(),
                                           [&](const HandOver& h) { return on_chip(Phase::backward, h); });
      if (!all_on_chip) write(TrafficClass::feature_gradients, elems(t), rules_.feature_bits);
    }
  }

  const Network& network_;
  const Schedule& schedule_;
  const TrafficRules& rules_;
  bool training_ = true;
  std::array<std::vector<int>, 2> pass_of_;
  std::set<std::pair<TensorId, int>> arrived_;  // gradients that a pass has read from DRAM
  std::array<int64_t, kTrafficClasses> read_bits_{}, write_bits_{};
};

const TrafficRules kPresets[] = {
    {"paper", Space::in_place, 16, 16, 8},
    {"conservative", Space::out_of_place, 16, 32, 8},
    {"fused", Space::out_of_place, 16, 32, 8},
};

}  // namespace

TrafficRules traffic_rules(const std::string& name) {
  for (const TrafficRules& preset : kPresets)
    if (preset.name == name) return preset;
  fail_usage("unknown accounting '{}'; there are {}", name, fmt::join(traffic_rules_names(), ", "));
}

std::vector<std::string> traffic_rules_names() {
  std::vector<std::string> names;
  for (const TrafficRules& preset : kPresets) names.push_back(preset.name);
  return names;
}

Traffic predicted_traffic(const Network& network, const Schedule& schedule, const TrafficRules& rules) {
  CHECK(!schedule.passes.empty(), "a schedule without passes");
  return Predictor(network, schedule, rules).predict();
}

}  // namespace mbs
