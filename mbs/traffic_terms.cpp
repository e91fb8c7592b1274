#include "mbs/traffic_terms.h"

#include <algorithm>
#include <map>

#include "engine/recompute.h"
#include "mbs/traffic_graph.h"

namespace mbs {
namespace {

// The nodes that must run in one pass.
struct Span {
  NodeId first, last;

  explicit Span(NodeId n) : first(n), last(n) {}
  Span& with(NodeId n) {
    first = std::min(first, n);
    last = std::max(last, n);
    return *this;
  }
};

using Per = TrafficTerm::Per;

class TermBuilder : TrafficGraph {
 public:
  TermBuilder(const Network& network, const Keeping& keeping, const TrafficRules& rules, bool training,
              std::span<const TensorId> kept)
      : TrafficGraph(network, training),
        network_(network),
        keeping_(keeping),
        rules_(rules),
        training_(training),
        again_(network, flow_, keeping.recompute, kept) {}

  std::vector<TrafficTerm> build() {
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
    for (auto& [place, reads] : gradient_reads_) count_gradient_reads(reads);
    if (training_ && keeping_.recompute != Recompute::nothing) {
      for (TensorId t = 0; t < static_cast<int>(network_.tensors().size()); ++t) stored_reads(t);
    }
    return std::move(terms_);
  }

 private:
  // --- terms ---

  int64_t elems(TensorId t) const { return network_.tensor(t).shape.elems(); }
  int sweeps(Reuse reuse, int without_chip) const {
    return reuse == Reuse::none ? std::min(without_chip, rules_.max_sweeps) : 1;
  }
  static bool keeps_chunk(Reuse reuse) { return reuse == Reuse::group || reuse == Reuse::hold; }

  void add(TrafficClass c, bool write, Phase phase, const Span& span, int64_t bits, Per per = Per::sample) {
    if (bits != 0) terms_.push_back({c, write, phase, span.first, span.last, per, bits});
  }
  // `bits` that move for node n, unless all of `on_chip` runs in its pass.
  void move(TrafficClass c, bool write, Phase phase, NodeId n, int64_t bits, const Span* on_chip) {
    add(c, write, phase, Span(n), bits);
    if (on_chip != nullptr) add(c, write, phase, *on_chip, -bits);
  }

  // --- features ---

  // Adds the nodes that write `t`, all parts of a concatenation. False: it is (or has) the network's input.
  bool add_writers(TensorId t, Span& span) const {
    const NodeId producer = network_.tensor(t).producer;
    if (producer < 0) return false;
    if (!concat(producer)) return span.with(producer), true;
    const std::vector<TensorId>& parts = network_.node(producer).in;
    return std::all_of(parts.begin(), parts.end(), [&](TensorId part) { return add_writers(part, span); });
  }

  // Whether some order of passes lets `use` find t on chip as its writers left it; if so, adds them to the
  // span.
  bool handed_over(TensorId t, const Use& use, Span& span) const {
    const NodeId producer = network_.tensor(t).producer;
    if (keeping_.forward == Reuse::none) return false;
    if (keeping_.forward == Reuse::chain && (concat(producer) || !chained(use))) return false;
    return add_writers(t, span);
  }

  void feature_reads(TensorId t) {
    NodeId previous =
        -1;  // of two readers in a pass that keeps its data, the first one reads from DRAM for both
    for (const Use& use : uses(t)) {
      if (concat(use.node)) continue;
      Span span(use.node);
      bool on_chip = false;
      if (keeps_chunk(keeping_.forward) && previous >= 0)
        on_chip = true, span.with(previous);
      else
        on_chip = handed_over(t, use, span);
      move(TrafficClass::features, false, Phase::forward, use.node,
           elems(t) * rules_.feature_bits * sweeps(keeping_.forward, needs(use.node).x_sweeps),
           on_chip ? &span : nullptr);
      previous = use.node;
    }
  }

  bool stored(NodeId producer, const std::vector<Use>& reads) const {
    return (has_backward(producer) && needs(producer).y) ||
           std::any_of(reads.begin(), reads.end(),
                       [&](const Use& use) { return has_backward(use.node) && needs(use.node).x; });
  }

  // Whether t is part of a concatenation that is stored because it is not made again.
  bool in_stored_whole(TensorId t) const {
    return std::any_of(uses(t).begin(), uses(t).end(), [&](const Use& use) {
      if (!concat(use.node)) return false;
      const TensorId whole = network_.node(use.node).out;
      return in_stored_whole(whole) || (!again_.possible(whole) && stored(use.node, reads_of(whole)));
    });
  }

  void feature_write(NodeId n) {
    const TensorId t = network_.node(n).out;
    const std::vector<Use> reads = reads_of(t);
    const int64_t bits = elems(t) * rules_.feature_bits;
    const TrafficClass kind = stored(n, reads) ? TrafficClass::stored_features : TrafficClass::features;
    if (kind == TrafficClass::stored_features && (!again_.possible(t) || in_stored_whole(t)))
      return add(kind, true, Phase::forward, Span(n), bits);
    Span span(n);
    const bool on_chip = !reads.empty() && std::all_of(reads.begin(), reads.end(), [&](const Use& use) {
      span.with(use.node);
      return handed_over(input_of(use), use, span);
    });
    move(kind, true, Phase::forward, n, bits, on_chip ? &span : nullptr);
  }

  // Stored features, read from DRAM whatever the order, and masks.
  void kept_for_backward(NodeId n) {
    const Node& node = network_.node(n);
    const Needs need = needs(n);
    int64_t count = need.y ? elems(node.out) : 0;
    for (TensorId t : node.in) count += need.x ? elems(t) : 0;
    if (keeping_.recompute == Recompute::nothing)
      add(TrafficClass::stored_features, false, Phase::backward, Span(n),
          count * sweeps(keeping_.backward, need.stored_sweeps) * rules_.feature_bits);
    int bits = 0;
    if (need.aux_role == Role::relu_mask) bits = 1;
    if (need.aux_role == Role::pool_index) bits = rules_.pool_index_bits;
    const Span made = Span(n).with(std::max(n, needed_by(n)));
    const Span* made_again = needed_by(n) >= 0 ? &made : nullptr;
    move(TrafficClass::masks, true, Phase::forward, n, elems(node.out) * bits, made_again);
    move(TrafficClass::masks, false, Phase::backward, n, elems(node.out) * bits, made_again);
  }

  // --- values that are made again ---

  // For each node, the first node for whose backward call its value is made again, if the pass holds both;
  // -1: none.
  std::vector<NodeId> find_needed_by() const {
    std::vector<NodeId> needed(static_cast<size_t>(network_.node_count()), -1);
    for (NodeId n = network_.node_count() - 1; n >= 0; --n) {
      const TensorId t = network_.node(n).out;
      if (!again_.possible(t)) continue;
      NodeId& first = needed[static_cast<size_t>(n)];
      const auto found = [&](NodeId reader) {
        if (reader >= 0 && (first < 0 || reader < first)) first = reader;
      };
      if (has_backward(n) && needs(n).y) found(n);
      for (const Use& use : uses(t)) {
        if (has_backward(use.node) && needs(use.node).x) found(use.node);
        found(needed[static_cast<size_t>(use.node)]);
      }
    }
    return needed;
  }
  NodeId needed_by(NodeId n) const { return needed_by_[static_cast<size_t>(n)]; }

  // A reason to read t is a backward call that needs it, or a reader whose own value is made again. A pass
  // that holds what it has read reads t once if there is any; one that holds its producer makes it again
  // instead.
  void stored_reads(TensorId t) {
    const NodeId producer = network_.tensor(t).producer;
    std::vector<Span> reasons;
    if (producer >= 0 && has_backward(producer) && needs(producer).y) reasons.push_back(Span(producer));
    for (const Use& use : uses(t)) {
      if (has_backward(use.node) && needs(use.node).x) reasons.push_back(Span(use.node));
      if (needed_by(use.node) >= 0) reasons.push_back(Span(use.node).with(needed_by(use.node)));
    }
    if (keeping_.backward != Reuse::hold) {  // every reader reads it from DRAM
      for (const Span& reason : reasons) stored_read(t, reason, 1);
      return;
    }
    // One reason is enough, so one that holds another says nothing new; then, of reasons in a row, those that
    // a pass holds are one more than the neighbours that it holds both of.
    const std::vector<Span> all = reasons;
    std::erase_if(reasons, [&](const Span& outer) {
      return std::any_of(all.begin(), all.end(), [&](const Span& inner) {
        return inner.first >= outer.first && inner.last <= outer.last &&
               (inner.first > outer.first || inner.last < outer.last);
      });
    });
    std::sort(reasons.begin(), reasons.end(), [](const Span& a, const Span& b) { return a.first < b.first; });
    const auto same = [](const Span& a, const Span& b) { return a.first == b.first; };
    reasons.erase(std::unique(reasons.begin(), reasons.end(), same), reasons.end());
    for (size_t i = 0; i < reasons.size(); ++i) {
      stored_read(t, reasons[i], 1);
      if (i > 0) stored_read(t, Span(reasons[i - 1]).with(reasons[i].last), -1);
    }
  }
  void stored_read(TensorId t, Span span, int sign) {
    const int64_t bits = sign * elems(t) * rules_.feature_bits;
    add(TrafficClass::stored_features, false, Phase::backward, span, bits);
    if (again_.possible(t))
      add(TrafficClass::stored_features, false, Phase::backward, span.with(network_.tensor(t).producer),
          -bits);
  }

  // --- parameters ---

  // With I chunks: weights I times forward and I times backward; gradients written I times, read I - 1 times.
  void parameters(NodeId n) {
    const Node& node = network_.node(n);
    int64_t count = 0;
    for (int p = 0; p < node.params; ++p)
      count += network_.params()[static_cast<size_t>(node.first_param + p)].elems;
    add(TrafficClass::weights, false, Phase::forward, Span(n), count * rules_.feature_bits, Per::chunk);
    if (!training_) return;
    // Matrix products need the weights for the data gradient only; a norm needs its scale anyway.
    const bool used = node.wants_dx || layer(n).gemms(Phase::backward, 1, false).empty();
    if (used)
      add(TrafficClass::weights, false, Phase::backward, Span(n), count * rules_.feature_bits, Per::chunk);
    if (needed_by(n) >= 0)
      add(TrafficClass::weights, false, Phase::backward, Span(n).with(needed_by(n)),
          count * rules_.feature_bits, Per::chunk);
    const int64_t sums = count * rules_.partial_sum_bits;
    add(TrafficClass::weight_gradients, true, Phase::backward, Span(n), sums, Per::chunk);
    add(TrafficClass::weight_gradients, false, Phase::backward, Span(n), sums, Per::later_chunk);
  }

  // --- gradients of features ---

  // Reads of what lies in one place, to be counted when all are known.
  struct GradientRead {
    HandOver from;
    int64_t bits;
  };

  void read_gradient(TensorId t, const HandOver& h, int times) {
    gradient_reads_[place_of(t)].push_back({h, elems(t) * times * rules_.feature_bits});
  }

  // A pass that keeps its data reads each version of the place once: a read finds on chip what the last one
  // to touch the place before it, in the order of the backward passes, has left.
  void count_gradient_reads(std::vector<GradientRead>& reads) {
    std::stable_sort(reads.begin(), reads.end(),
                     [](const auto& a, const auto& b) { return a.from.reader > b.from.reader; });
    NodeId previous = network_.node_count();
    for (const auto& [from, bits] : reads) {
      Span span(from.reader);
      const bool on_chip =
          keeps_chunk(keeping_.backward) || (keeping_.backward == Reuse::chain && from.chained);
      span.with(keeps_chunk(keeping_.backward) ? std::min(from.maker, previous) : from.maker);
      move(TrafficClass::feature_gradients, false, Phase::backward, from.reader, bits,
           on_chip ? &span : nullptr);
      previous = from.reader;
    }
  }

  // A layer reads the gradient of its output.
  void gradient_read(NodeId n) {
    if (layer(n).is_loss()) return;
    const TensorId t = network_.node(n).out;
    HandOver h = maker_of(contributions(t).back());
    h.reader = n;
    read_gradient(t, h, sweeps(keeping_.backward, needs(n).gradient_sweeps));
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
      Span span(n);
      const bool on_chip =
          !readers.empty() && std::all_of(readers.begin(), readers.end(), [&](const HandOver& h) {
            span.with(h.reader);
            return keeps_chunk(keeping_.backward) || (keeping_.backward == Reuse::chain && h.chained);
          });
      move(TrafficClass::feature_gradients, true, Phase::backward, n, elems(t) * rules_.feature_bits,
           on_chip ? &span : nullptr);
    }
  }

  const Network& network_;
  const Keeping keeping_;
  const TrafficRules& rules_;
  const bool training_;
  const Dataflow flow_{network_};
  const Recomputation again_;
  const std::vector<NodeId> needed_by_ = find_needed_by();
  std::vector<TrafficTerm> terms_;
  std::map<TensorId, std::vector<GradientRead>> gradient_reads_;  // by place
};

}  // namespace

std::vector<TrafficTerm> traffic_terms(const Network& network, const Keeping& keeping,
                                       const TrafficRules& rules, bool training,
                                       std::span<const TensorId> kept) {
  return TermBuilder(network, keeping, rules, training, kept).build();
}

bool can_begin_recomputing(const Network& network, NodeId n) {
  return n == 0 || network.node(n).layer->has_matrix_product();
}

}  // namespace mbs
