// Laws of traffic, over random networks, buffers, batches and schedules.
#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "mbs/traffic_terms.h"
#include "tests/doctest.h"
#include "tests/mbs_networks.h"
#include "tests/random_network.h"
#include "tests/random_schedule.h"
#include "tests/reference/buffer_model.h"

using namespace mbs;
using namespace mbs::tests;
using mbs::reference::BufferModel;
using mbs::reference::replayed_traffic;

namespace {

constexpr auto kWeights = static_cast<size_t>(TrafficClass::weights);
constexpr auto kSums = static_cast<size_t>(TrafficClass::weight_gradients);
const TrafficRules kRules = traffic_rules("conservative");

// Between too small for every block and large enough for all with many samples.
int64_t random_buffer(const Network& net, Dice& dice) {
  const int64_t largest = smallest_buffer_bytes(net, {Order::mbs2, 1, 1, kRules});
  return 1 + largest * (1 + dice.below(120)) / 12;
}

Plan plan(const Network& net, Order order, int batch, int64_t buffer, Grouping grouping = Grouping::optimal) {
  return make_plan(net, {order, batch, buffer, kRules, grouping, /*spill=*/true});
}

// --- bytes of one tensor ---

// Counts every tensor for itself, and in which passes it is touched.
struct TensorCounter : Recorder {
  struct Moved {
    Accountant accountant{counting_rules(kRules)};
    std::set<int> passes[2];  // by phase
    bool made_again = false;
    int64_t bytes(bool write) const {
      const Traffic t = accountant.traffic();
      int64_t sum = 0;
      for (size_t c = 0; c < kTrafficClasses; ++c) sum += write ? t.write_bytes[c] : t.read_bytes[c];
      return sum;
    }
  };
  std::map<std::pair<Role, int>, Moved> moved;

  static int64_t size(const Network& net, const Schedule& schedule, TensorId t) {
    return net.tensor(t).shape.elems() * schedule.batch * kRules.feature_bits / 8;
  }

  void on_kernel(const KernelEvent& event) override {
    for (const Operand& o : event.operands) {
      if (o.role != Role::feature && o.role != Role::gradient) continue;
      Moved& m = moved[{o.role, o.tensor}];
      m.passes[static_cast<size_t>(event.phase)].insert(event.pass);
      m.made_again = m.made_again || (event.recompute && o.access == Access::write);
      KernelEvent alone = event;
      alone.operands = {&o, 1};
      m.accountant.on_kernel(alone);
    }
  }
};

// What a tensor consists of: itself, or the parts of a concatenation.
std::vector<TensorId> atoms_of(const Network& net, TensorId t) {
  const NodeId producer = net.tensor(t).producer;
  if (producer < 0 || !net.node(producer).layer->concatenates()) return {t};
  std::vector<TensorId> atoms;
  for (TensorId part : net.node(producer).in) {
    const std::vector<TensorId> inner = atoms_of(net, part);
    atoms.insert(atoms.end(), inner.begin(), inner.end());
  }
  return atoms;
}

// A concatenation, or a part of one: the same data under two names.
bool has_two_names(const Network& net, TensorId t) {
  const auto& uses = net.tensor(t).uses;
  return atoms_of(net, t) != std::vector{t} || std::any_of(uses.begin(), uses.end(), [&](const Use& use) {
           return net.node(use.node).layer->concatenates();
         });
}

// In which passes of a direction a tensor is touched, as a whole or in parts.
std::set<int> passes_of(TensorCounter& count, Role role, Phase phase, const Network& net, TensorId t) {
  std::vector<TensorId> names = atoms_of(net, t);
  names.push_back(t);
  std::set<int> passes;
  for (TensorId name : names) {
    const std::set<int>& some = count.moved[{role, name}].passes[static_cast<size_t>(phase)];
    passes.insert(some.begin(), some.end());
  }
  return passes;
}

// What crosses a boundary moves once at least; what a pass that keeps everything needs alone does not move.
void expect_bytes_of_features(TensorCounter& count, const Network& net, const Schedule& schedule,
                              TensorId t) {
  auto& feature = count.moved[{Role::feature, t}];
  const auto size = [&](TensorId u) { return count.size(net, schedule, u); };
  const std::set<int> passes = passes_of(count, Role::feature, Phase::forward, net, t);
  const bool from_elsewhere = !feature.passes[0].empty() && (t == net.input() || passes.size() > 1);
  const bool stored = !feature.passes[1].empty() && !feature.made_again;
  if (from_elsewhere || stored) {
    EXPECT(feature.bytes(false) >= size(t) * (from_elsewhere + stored));
    if (t == net.input()) return;
    for (TensorId atom : atoms_of(net, t))
      EXPECT(count.moved[{Role::feature, atom}].bytes(true) >= size(atom));
  } else if (feature.passes[1].empty() && passes.size() == 1 && !has_two_names(net, t) && t != net.output()) {
    if (schedule.passes[static_cast<size_t>(*passes.begin())].reuse == Reuse::group)
      EXPECT(feature.bytes(false) + feature.bytes(true) == 0);
  }
}

void expect_bytes_of_gradient(TensorCounter& count, const Network& net, const Schedule& schedule,
                              TensorId t) {
  auto& gradient = count.moved[{Role::gradient, t}];
  if (has_two_names(net, t) || gradient.passes[1].empty()) return;
  if (gradient.passes[1].size() > 1) {
    EXPECT(gradient.bytes(true) >= count.size(net, schedule, t));
    EXPECT(gradient.bytes(false) >= count.size(net, schedule, t));
  } else if (schedule.passes[static_cast<size_t>(*gradient.passes[1].begin())].reuse >= Reuse::group) {
    EXPECT(gradient.bytes(true) + gradient.bytes(false) == 0);
  }
}

void expect_unique_bytes(const Network& net, const Schedule& schedule) {
  TensorCounter count;
  dry_run(net, schedule, schedule.batch, count);
  for (TensorId t = 0; t < static_cast<int>(net.tensors().size()); ++t) {
    CAPTURE(t);
    expect_bytes_of_features(count, net, schedule, t);
    expect_bytes_of_gradient(count, net, schedule, t);
  }
}

// --- parameters ---

// With I chunks in a pass: weights are read I times (in backward where the data gradient or the layer itself
// needs them), gradients of weights written I times and read I - 1 times.
void expect_parameter_traffic(const Network& net, const Schedule& schedule, const Traffic& traffic) {
  int64_t weights = 0, written = 0, read = 0;
  for (const Pass& pass : schedule.passes) {
    const int64_t chunks = pass.chunks(schedule.batch);
    for (NodeId n = pass.first; n <= pass.last; ++n) {
      const Node& node = net.node(n);
      int64_t elems = 0;
      for (const ParamInfo& p : net.params()) elems += p.node == n ? p.elems : 0;
      const bool first_product = node.in[0] == net.input();  // the network has no gradient of its input
      if (pass.phase == Phase::forward || !first_product) weights += chunks * elems;
      if (pass.phase == Phase::forward) continue;
      written += chunks * elems;
      read += (chunks - 1) * elems;
    }
  }
  EXPECT(traffic.read_bytes[kWeights] == weights * kRules.feature_bits / 8);
  EXPECT(traffic.write_bytes[kWeights] == 0);
  EXPECT(traffic.write_bytes[kSums] == written * kRules.partial_sum_bits / 8);
  EXPECT(traffic.read_bytes[kSums] == read * kRules.partial_sum_bits / 8);
}

}  // namespace

TEST_CASE("random networks have every kind of block") {
  std::set<Block::Kind> kinds;
  int passed_adds = 0, adds = 0, blocks = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const Network net = random_network(seed);
    const Dataflow flow(net);
    for (const Block& b : net.blocks()) kinds.insert(b.kind);
    blocks += static_cast<int>(net.blocks().size());
    for (NodeId n = 0; n < net.node_count(); ++n) {
      if (!net.node(n).layer->passes_gradient()) continue;
      ++adds;
      passed_adds += !flow.has_backward(n);
    }
  }
  EXPECT(kinds.size() == 3);
  EXPECT(blocks > 40 * 5);
  EXPECT(passed_adds > 10);
  EXPECT(passed_adds < adds - 5);
}

TEST_CASE("three witnesses agree for random networks, and no pass overfills the buffer") {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const Network net = random_network(seed);
    Dice dice(seed);
    CAPTURE(seed);
    for (const std::string& order : all_words<Order>()) {
      CAPTURE(order);
      const Plan p = plan(net, parse_word<Order>(order), 1 + dice.below(19), random_buffer(net, dice),
                          dice.one_in(2) ? Grouping::greedy : Grouping::optimal);
      EXPECT(p.predicted == counted_traffic(net, p.schedule, kRules));
      EXPECT(p.predicted == replayed_traffic(net, p.schedule, kRules));
      BufferModel model(net, kRules);
      folded_dry_run(net, p.schedule, p.schedule.batch, model);
      for (const auto& o : model.occupancy())
        EXPECT(o.peak_elems * kRules.feature_bits <= p.buffer_bytes * 8);
    }
    const Schedule anywhere = random_schedule(net, 5, seed);
    const Traffic predicted = predicted_traffic(net, anywhere, kRules);
    EXPECT(predicted == counted_traffic(net, anywhere, kRules));
    EXPECT(predicted == replayed_traffic(net, anywhere, kRules));
  }
}

TEST_CASE("bytes of classes and directions add up to the total") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Network net = random_network(seed);
    Dice dice(seed);
    for (const std::string& order : all_words<Order>()) {
      const Traffic t =
          plan(net, parse_word<Order>(order), 1 + dice.below(19), random_buffer(net, dice)).predicted;
      int64_t by_class = 0, by_direction = 0;
      for (size_t c = 0; c < kTrafficClasses; ++c) {
        by_class += t.class_bytes(static_cast<TrafficClass>(c));
        by_direction += t.read_bytes[c] + t.write_bytes[c];
        EXPECT(t.read_bytes[c] >= 0);
        EXPECT(t.write_bytes[c] >= 0);
      }
      EXPECT(t.total_bytes() == by_class);
      EXPECT(t.total_bytes() == by_direction);
    }
  }
}

TEST_CASE("what crosses a boundary moves at least once, and what stays in a group does not move") {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const Network net = random_network(seed);
    Dice dice(seed);
    CAPTURE(seed);
    for (const std::string& order : all_words<Order>()) {
      CAPTURE(order);
      expect_unique_bytes(
          net, plan(net, parse_word<Order>(order), 1 + dice.below(9), random_buffer(net, dice)).schedule);
    }
    expect_unique_bytes(net, random_schedule(net, 5, seed));
  }
}

TEST_CASE("parameters move with the iterations") {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const Network net = random_network(seed);
    Dice dice(seed);
    CAPTURE(seed);
    for (const Order order : {Order::baseline, Order::il, Order::mbs_fs, Order::mbs1, Order::mbs2}) {
      const Plan p = plan(net, order, 1 + dice.below(19), random_buffer(net, dice));
      expect_parameter_traffic(net, p.schedule, p.predicted);
    }
    const Schedule anywhere = random_schedule(net, 7, seed);
    expect_parameter_traffic(net, anywhere, predicted_traffic(net, anywhere, kRules));
  }
}

TEST_CASE("a larger buffer never makes an optimal plan worse") {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const Network net = random_network(seed);
    Dice dice(seed);
    CAPTURE(seed);
    const int batch = 8 * (1 + dice.below(5));  // leaves no bits over
    std::vector<int64_t> buffers;
    for (int i = 0; i < 6; ++i) buffers.push_back(random_buffer(net, dice));
    std::sort(buffers.begin(), buffers.end());
    for (const Order order : {Order::il, Order::mbs1, Order::mbs2, Order::mbs_r}) {
      CAPTURE(std::string(word_of(order)));
      int64_t before = std::numeric_limits<int64_t>::max();
      for (const int64_t buffer : buffers) {
        const int64_t now = plan(net, order, batch, buffer).predicted.total_bytes();
        EXPECT(now <= before);
        before = now;
      }
    }
  }
}

TEST_CASE("an order that may do more moves no more") {
  int better = 0;
  for (uint64_t seed = 0; seed < 80; ++seed) {
    const Network net = random_network(seed);
    Dice dice(seed);
    CAPTURE(seed);
    const int batch = 8 * (1 + dice.below(5));  // leaves no bits over
    const int64_t buffer = random_buffer(net, dice);
    const auto total = [&](Order order) { return plan(net, order, batch, buffer).predicted.total_bytes(); };
    const Plan mbs2 = plan(net, Order::mbs2, batch, buffer);
    const int64_t bytes = mbs2.predicted.total_bytes();
    EXPECT(bytes <= total(Order::mbs1));
    EXPECT(total(Order::mbs1) <= total(Order::il));
    EXPECT(total(Order::il) <= total(Order::baseline));
    EXPECT(bytes <= plan(net, Order::mbs2, batch, buffer, Grouping::greedy).predicted.total_bytes());
    const int64_t again = total(Order::mbs_r);
    EXPECT(again <= bytes);
    better += again < bytes;
  }
  EXPECT(better > 40);
}
