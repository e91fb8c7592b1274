#include "mbs/recompute_footprint.h"

#include <algorithm>

#include "engine/dataflow.h"
#include "engine/recompute.h"
#include "mbs/traffic_terms.h"

namespace mbs {
namespace {

// A group that needs so many times the buffer is not continued.
constexpr int64_t kHopeless = 2;

// What the backward call of a node touches.
struct BackwardFacts {
  bool exists = false, in_place = false;
  std::vector<TensorId> values;     // that it reads
  std::vector<TensorId> gradients;  // that it reads or writes, by the tensor whose buffer they lie in
};

// Walks backward passes and keeps, of every buffer, the steps between which it lives.
class LivingTensors {
 public:
  LivingTensors(const Network& network, Space space, const Recomputation& again, Reuse backward)
      : network_(network), space_(space), again_(again), hold_(backward == Reuse::hold) {
    const Dataflow flow(network);
    for (NodeId n = 0; n < network.node_count(); ++n) facts_.push_back(facts_of(flow, n));
    for (auto& lives : lives_) lives.resize(network.tensors().size());
  }

  // The largest sum of elements that live at once in a backward pass over nodes [first, last].
  int64_t peak(NodeId first, NodeId last) {
    for (auto& lives : lives_) std::fill(lives.begin(), lives.end(), Life{});
    steps_.clear();
    first_ = first;
    last_ = last;
    for (NodeId n = last; n >= first; --n) {
      const BackwardFacts& facts = facts_[static_cast<size_t>(n)];
      if (!facts.exists) continue;
      for (TensorId t : facts.values) make_again(t);
      for (TensorId t : facts.values) touch(kind_of(t), t);
      for (TensorId t : facts.gradients) touch(kGradient, t);
      steps_.push_back({n, false});
    }
    return largest_sum();
  }

 private:
  enum Kind { kStored, kMade, kGradient };
  struct Life {
    int first = -1, last = -1, touches = 0;
  };
  struct WalkedStep {
    NodeId node;
    bool recompute;
  };

  BackwardFacts facts_of(const Dataflow& flow, NodeId n) const {
    const Node& node = network_.node(n);
    const Needs needs = node.layer->needs(node.wants_dx);
    BackwardFacts facts;
    facts.exists = flow.has_backward(n);
    facts.in_place = node.layer->in_place();
    if (needs.x) facts.values = node.in;
    if (needs.y) facts.values.push_back(node.out);
    if (!node.layer->is_loss()) facts.gradients.push_back(flow.gradient_root(node.out));
    for (int i = 0; i < static_cast<int>(node.in.size()); ++i) {
      const TensorId t = node.in[static_cast<size_t>(i)];
      if (network_.wants_gradient(t) && !flow.passed({n, i}))
        facts.gradients.push_back(flow.gradient_root(t));
    }
    return facts;
  }

  // Whether the pass makes t again: then every reader finds it made.
  bool made(TensorId t) const { return again_.possible(t) && network_.tensor(t).producer >= first_; }
  Kind kind_of(TensorId t) const { return made(t) ? kMade : kStored; }

  void touch(Kind kind, TensorId t) {
    Life& life = lives_[kind][static_cast<size_t>(t)];
    if (life.touches++ == 0) life.first = static_cast<int>(steps_.size());
    life.last = static_cast<int>(steps_.size());
  }

  void make_again(TensorId t) {
    if (!made(t) || lives_[kMade][static_cast<size_t>(t)].touches > 0) return;
    const NodeId producer = network_.tensor(t).producer;
    for (TensorId input : network_.node(producer).in) make_again(input);
    for (TensorId input : network_.node(producer).in) touch(kind_of(input), input);
    touch(kMade, t);
    steps_.push_back({producer, true});
  }

  // What streams through takes no space: stored values (under hold those that are read once), and without
  // hold what is made value by value for the next call that is no recomputation itself.
  bool streams(Kind kind, TensorId t, const Life& life) const {
    if (kind == kStored) return t == network_.input() || !hold_ || life.touches == 1;
    return kind == kMade && !hold_ &&
           !network_.node(network_.tensor(t).producer).layer->has_matrix_product() &&
           std::all_of(steps_.begin() + life.first, steps_.begin() + life.last,
                       [](auto& s) { return s.recompute; });
  }

  int64_t largest_sum() {
    const int last_step = static_cast<int>(steps_.size()) - 1;
    std::vector<int64_t> change(steps_.size() + 1, 0), born = change, dying = change;
    for (const Kind kind : {kStored, kMade, kGradient}) {
      for (TensorId t = 0; t < static_cast<int>(network_.tensors().size()); ++t) {
        Life life = lives_[kind][static_cast<size_t>(t)];
        if (life.touches == 0 || streams(kind, t, life)) continue;
        // The gradient of a tensor from before the pass stays, to be read after it; one that comes from a
        // later part of the group has been there from the start.
        if (kind == kGradient && network_.tensor(t).producer < first_) life.last = last_step;
        if (kind == kGradient && network_.tensor(t).uses.back().node > last_) life.first = 0;
        const int64_t elems = network_.tensor(t).shape.elems();
        change[static_cast<size_t>(life.first)] += elems;
        change[static_cast<size_t>(life.last) + 1] -= elems;
        if (life.first == life.last) continue;
        int64_t& made_here = born[static_cast<size_t>(life.first)];
        int64_t& freed_here = dying[static_cast<size_t>(life.last)];
        made_here = std::max(made_here, elems);
        freed_here = std::max(freed_here, elems);
      }
    }
    int64_t sum = 0, largest = 0;
    for (size_t s = 0; s < steps_.size(); ++s) {
      sum += change[s];
      // A layer that works in place writes over the operand that nobody needs any more.
      const bool over = space_ == Space::in_place && facts_[static_cast<size_t>(steps_[s].node)].in_place;
      largest = std::max(largest, over ? sum - std::min(born[s], dying[s]) : sum);
    }
    return largest;
  }

  const Network& network_;
  const Space space_;
  const Recomputation& again_;
  const bool hold_;
  std::vector<BackwardFacts> facts_;  // by node
  NodeId first_ = 0, last_ = 0;       // of the pass
  std::vector<WalkedStep> steps_;
  std::vector<Life> lives_[3];  // [Kind][tensor]
};

}  // namespace

std::vector<std::vector<int64_t>> recompute_footprints(const Network& network, Space space,
                                                       Recompute recompute, Reuse backward,
                                                       int64_t most_elems) {
  const auto blocks = network.blocks();
  const Dataflow flow(network);
  const Recomputation again(network, flow, recompute);
  LivingTensors living(network, space, again, backward);
  std::vector<int64_t> forward;
  for (const Block& block : blocks)
    forward.push_back(footprint_elems(network, block, space, Sharing::across_branches));
  std::vector<std::vector<int64_t>> table(blocks.size(), std::vector<int64_t>(blocks.size(), kTooLarge));
  for (size_t first = 0; first < blocks.size(); ++first) {
    if (!can_begin_recomputing(network, blocks[first].first)) continue;
    int64_t largest_forward = 0;
    for (size_t last = first; last < blocks.size(); ++last) {
      largest_forward = std::max(largest_forward, forward[last]);
      table[first][last] = std::max(largest_forward, living.peak(blocks[first].first, blocks[last].last));
      // A longer group needs hardly less: only the last block's own need may shrink.
      if (table[first][last] > kHopeless * most_elems) break;
    }
  }
  return table;
}

}  // namespace mbs
