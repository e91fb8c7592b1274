// The accountant against events made by hand, and its eye for events that lie.
#include <functional>

#include "tests/doctest.h"
#include "tests/mbs_networks.h"
#include "tests/tampering.h"
#include "wavecore/accountant.h"

using namespace mbs;
using namespace mbs::tests;

namespace {

constexpr size_t index(TrafficClass c) { return static_cast<size_t>(c); }

Operand operand(Role role, Access access, int64_t elems) {
  Operand o;
  o.tensor = 1;
  o.role = role;
  o.access = access;
  o.elems = elems;
  return o;
}

Traffic count(Reuse reuse, Phase phase, const std::vector<Operand>& operands) {
  Accountant accountant({16, 32, 8});
  KernelEvent event;
  event.reuse = reuse;
  event.phase = phase;
  event.operands = operands;
  accountant.on_kernel(event);
  return accountant.traffic();
}

constexpr Reuse kPolicies[] = {Reuse::none, Reuse::chain, Reuse::group};

}  // namespace

TEST_CASE("what is handed over on chip is free, by what the machine keeps") {
  for (Reuse policy : kPolicies) {
    for (bool local : {false, true}) {
      for (bool chained : {false, true}) {
        const bool free = local && (policy == Reuse::group || (policy == Reuse::chain && chained));
        for (Role role : {Role::feature, Role::gradient}) {
          const Phase phase = role == Role::feature ? Phase::forward : Phase::backward;
          const auto c = role == Role::feature ? TrafficClass::features : TrafficClass::feature_gradients;
          Operand read = operand(role, Access::read, 7), write = operand(role, Access::write, 5);
          read.local = write.local = local;
          read.chained = write.chained = chained;
          read.sweeps = 2;
          const Traffic t = count(policy, phase, {read, write});
          EXPECT(t.read_bytes[index(c)] == (free ? 0 : 2 * 7 * (policy == Reuse::none ? 2 : 1)));
          EXPECT(t.write_bytes[index(c)] == (free ? 0 : 2 * 5));
          EXPECT(t.total_bytes() == t.class_bytes(c));
        }
      }
    }
  }
}

TEST_CASE("stored features always move") {
  for (Reuse policy : kPolicies) {
    Operand y = operand(Role::feature, Access::write, 5);
    y.local = y.chained = y.stored = true;
    EXPECT(count(policy, Phase::forward, {y}).write_bytes[index(TrafficClass::stored_features)] == 2 * 5);
    Operand x = operand(Role::feature, Access::read, 7);
    x.stored = true;
    x.sweeps = 2;
    const int times = policy == Reuse::none ? 2 : 1;
    // Twice the same: streams are not shared between reads.
    EXPECT(count(policy, Phase::backward, {x, x}).read_bytes[index(TrafficClass::stored_features)] ==
           2 * times * 2 * 7);
  }
}

TEST_CASE("a sum is read before it is added to") {
  for (Reuse policy : kPolicies) {
    for (bool sum_local : {false, true}) {
      Operand dx = operand(Role::gradient, Access::accumulate, 7);
      dx.sum_local = sum_local;
      dx.sweeps = 9;  // means nothing for a sum
      const Traffic t = count(policy, Phase::backward, {dx});
      const bool free = policy == Reuse::group && sum_local;
      EXPECT(t.read_bytes[index(TrafficClass::feature_gradients)] == (free ? 0 : 2 * 7));
      EXPECT(t.write_bytes[index(TrafficClass::feature_gradients)] == 2 * 7);
    }
  }
}

TEST_CASE("a machine that keeps the chunk reads a tensor once a chunk") {
  const std::vector<Operand> x = {operand(Role::feature, Access::read, 7)};
  for (Reuse policy : kPolicies) {
    Accountant accountant({16, 32, 8});
    const auto step = [&](int pass, int chunk) {
      KernelEvent event;
      event.reuse = policy;
      event.pass = pass;
      event.chunk = chunk;
      event.operands = x;
      accountant.on_kernel(event);
    };
    for (int chunk : {0, 0, 1, 1, 1}) step(0, chunk);
    step(1, 1);
    const int reads = policy == Reuse::group ? 3 : 6;  // (0, 0), (0, 1), (1, 1)
    EXPECT(accountant.traffic().total_bytes() == 2 * 7 * reads);
    accountant.reset();
    EXPECT(accountant.traffic() == Traffic{});
    step(1, 1);
    EXPECT(accountant.traffic().total_bytes() == 2 * 7);
  }
}

TEST_CASE("parameters and masks have widths of their own") {
  const Traffic t =
      count(Reuse::group, Phase::backward,
            {operand(Role::weight, Access::read, 3), operand(Role::weight_gradient, Access::write, 5),
             operand(Role::weight_gradient, Access::accumulate, 7),
             operand(Role::relu_mask, Access::read, 11), operand(Role::pool_index, Access::write, 13)});
  EXPECT(t.read_bytes[index(TrafficClass::weights)] == 3 * 2);
  EXPECT(t.write_bytes[index(TrafficClass::weight_gradients)] == (5 + 7) * 4);
  EXPECT(t.read_bytes[index(TrafficClass::weight_gradients)] == 7 * 4);
  EXPECT(t.read_bytes[index(TrafficClass::masks)] == 2);  // 11 bits
  EXPECT(t.write_bytes[index(TrafficClass::masks)] == 13);
}

TEST_CASE("every lost event of the baseline is noticed") {
  const Network net = zoo_network("resnet8");
  const Schedule schedule = layer_by_layer(net, 3);
  const Traffic right = predicted_traffic(net, schedule, traffic_rules("paper"));
  int events = 1;
  for (int lost = 0; lost < events; ++lost) {
    Accountant accountant({16, 16, 8});
    int seen = 0;
    Tampering recorder(accountant, [&](KernelEvent&, std::vector<Operand>&) { return seen++ != lost; });
    dry_run(net, schedule, 3, recorder);
    events = seen;
    CAPTURE(lost);
    EXPECT(accountant.traffic() != right);
  }
  EXPECT(events > net.node_count());
}

TEST_CASE("a changed fact of order is noticed") {
  const Network net = zoo_network("resnet8");
  struct Fault {
    std::string name;
    Order order;
    std::function<bool(const KernelEvent&, const Operand&)> where;
    std::function<void(Operand&)> change;
  };
  const auto forward = [](const KernelEvent& e) { return e.phase == Phase::forward; };
  const Fault faults[] = {
      {"none", Order::mbs2, [](const auto&, const auto&) { return true; }, [](Operand&) {}},
      {"local read", Order::mbs2,
       [&](const auto& e, const Operand& o) { return forward(e) && o.access == Access::read && o.local; },
       [](Operand& o) { o.local = false; }},
      {"local gradient", Order::mbs2,
       [](const auto&, const Operand& o) { return o.role == Role::gradient && o.local; },
       [](Operand& o) { o.local = false; }},
      {"chained", Order::mbs1,
       [](const auto&, const Operand& o) { return o.access == Access::read && o.local && o.chained; },
       [](Operand& o) { o.chained = false; }},
      {"sum", Order::mbs2, [](const auto&, const Operand& o) { return o.sum_local; },
       [](Operand& o) { o.sum_local = false; }},
      {"stored", Order::mbs1, [](const auto&, const Operand& o) { return o.stored; },
       [](Operand& o) { o.stored = false; }},
      {"sweeps", Order::baseline, [](const auto&, const Operand& o) { return o.sweeps > 1; },
       [](Operand& o) { o.sweeps = 1; }},
      {"elems", Order::baseline, [](const auto&, const Operand&) { return true; },
       [](Operand& o) { ++o.elems; }},
      {"access", Order::mbs1, [](const auto&, const Operand& o) { return o.role == Role::weight_gradient; },
       [](Operand& o) { o.access = o.access == Access::write ? Access::accumulate : Access::write; }},
  };
  for (const Fault& fault : faults) {
    const Plan plan = make_plan(net, {fault.order, 7, 10 << 20, traffic_rules("paper")});
    Accountant accountant(counting_rules(plan.rules));
    bool done = false;
    Tampering recorder(accountant, [&](KernelEvent& event, std::vector<Operand>& operands) {
      for (Operand& o : operands) {
        if (done || !fault.where(event, o)) continue;
        fault.change(o);
        done = true;
      }
      return true;
    });
    dry_run(net, plan.schedule, 7, recorder);
    CAPTURE(fault.name);
    EXPECT(done);
    EXPECT((accountant.traffic() == plan.predicted) == (fault.name == "none"));
  }
}
