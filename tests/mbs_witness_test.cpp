// Three derivations of the same bytes: predicted as a sum of terms (mbs/), counted from the flags of events
// (wavecore/), and replayed by a buffer that knows neither (tests/reference/).
#include <algorithm>
#include <compare>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include "engine/parallel.h"
#include "layers/fusion.h"
#include "tests/doctest.h"
#include "tests/mbs_networks.h"
#include "tests/random_network.h"
#include "tests/random_schedule.h"
#include "tests/reference/buffer_model.h"
#include "tests/tampering.h"

using namespace mbs;
using namespace mbs::tests;
using mbs::reference::BufferModel;
using mbs::reference::Occupancy;
using mbs::reference::replayed_traffic;

namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

#ifdef __SANITIZE_ADDRESS__
const std::vector<int> kBatches = {7};  // slow, and whatever the sanitizer finds, it finds there
#else
const std::vector<int> kBatches = {1, 7, 32, 64};
#endif

// Where the three differ, one line for each class and direction; empty: nowhere.
std::string differences(const Traffic& predicted, const Traffic& counted, const Traffic& replayed) {
  std::string text;
  const auto compare = [&](size_t c, const char* way, int64_t p, int64_t n, int64_t r) {
    if (p == n && n == r) return;
    text +=
        fmt::format("{} {}: predicted {}, counted {}, replayed {}\n", kTrafficClassNames[c], way, p, n, r);
  };
  for (size_t c = 0; c < kTrafficClasses; ++c) {
    compare(c, "read", predicted.read_bytes[c], counted.read_bytes[c], replayed.read_bytes[c]);
    compare(c, "write", predicted.write_bytes[c], counted.write_bytes[c], replayed.write_bytes[c]);
  }
  return text;
}

// What is wrong with a plan: bytes that differ, or a pass that needs more than the buffer.
std::string faults(const Network& net, const Plan& plan) {
  const Schedule& schedule = plan.schedule;
  BufferModel model(net, plan.rules);
  Accountant accountant(counting_rules(plan.rules));
  folded_dry_run(net, schedule, schedule.batch, model);
  folded_dry_run(net, schedule, schedule.batch, accountant);
  std::string text = differences(plan.predicted, accountant.traffic(), model.traffic());
  if (plan.rules.space == Space::in_place) return text;  // the model keeps operands and results apart
  for (const Occupancy& o : model.occupancy()) {
    const int64_t bytes = (o.peak_elems * plan.rules.feature_bits + 7) / 8;
    if (bytes > plan.buffer_bytes)
      text += fmt::format("pass {} has {} bytes on chip, the buffer {}\n", o.pass, bytes, plan.buffer_bytes);
  }
  return text;
}

// A plan, and whether another one with the same schedule and no larger a buffer stands for it.
struct Job {
  const Network* network;
  PlanOptions options;
  Plan plan;
  bool repeated = false;
  std::string faults;
};

std::strong_ordering compare_schedules(const Job& a, const Job& b) {
  const auto key = [](const Pass& p) {
    return std::tuple(p.phase, p.first, p.last, p.sub_batch, p.reuse, p.recompute);
  };
  const auto &x = a.plan.schedule.passes, &y = b.plan.schedule.passes;
  if (const auto c = a.network <=> b.network; c != 0) return c;
  if (const auto c = a.plan.schedule.batch <=> b.plan.schedule.batch; c != 0) return c;
  if (const auto c = a.plan.schedule.kept <=> b.plan.schedule.kept; c != 0) return c;
  return std::lexicographical_compare_three_way(
      x.begin(), x.end(), y.begin(), y.end(),
      [&](const Pass& p, const Pass& q) -> std::strong_ordering { return key(p) <=> key(q); });
}

// All orders, buffers and batches for all networks.
std::vector<Job> all_jobs(const std::vector<Network>& networks, const TrafficRules& rules) {
  std::vector<Job> jobs;
  for (const Network& net : networks) {
    for (const std::string& name : all_words<Order>()) {
      const Order order = parse_word<Order>(name);
      for (const Grouping grouping : {Grouping::greedy, Grouping::optimal}) {
        // Other orders have nothing to choose, or (mbs-r) choose the best anyway.
        if (grouping == Grouping::optimal && order != Order::mbs1 && order != Order::mbs2) continue;
        for (const int64_t mib : {1, 2, 5, 10, 20, 40})
          for (const int batch : kBatches)
            jobs.push_back(
                {&net, {order, batch, mib * kMiB, rules, grouping, /*spill=*/true}, {}, false, {}});
      }
    }
  }
  return jobs;
}

void plan_and_replay(std::vector<Job>& jobs) {
  const int count = static_cast<int>(jobs.size()), threads = hardware_threads();
  parallel_for(count, threads, [&](int i) {
    Job& job = jobs[static_cast<size_t>(i)];
    job.plan = make_plan(*job.network, job.options);
  });
  std::sort(jobs.begin(), jobs.end(), [](const Job& a, const Job& b) {
    const auto c = compare_schedules(a, b);
    return c != 0 ? c < 0 : a.options.buffer_bytes < b.options.buffer_bytes;
  });
  for (size_t i = 1; i < jobs.size(); ++i) jobs[i].repeated = compare_schedules(jobs[i - 1], jobs[i]) == 0;
  parallel_for(count, threads, [&](int i) {
    Job& job = jobs[static_cast<size_t>(i)];
    if (!job.repeated) job.faults = faults(*job.network, job.plan);
  });
}

std::vector<Network> small_networks() {
  std::vector<Network> networks = {inception_like(), entangled()};
  for (const Shortcut shortcut : {Shortcut::a, Shortcut::b})
    networks.push_back(zoo_network("resnet8", shortcut));
  for (uint64_t seed = 0; seed < 8; ++seed) networks.push_back(random_network(seed));
  for (size_t i = 0, n = networks.size(); i < n; ++i) networks.push_back(fuse_relu(networks[i]));
  return networks;
}

void expect_agreement(const Network& net, const Schedule& schedule, const TrafficRules& rules) {
  const std::string wrong =
      differences(predicted_traffic(net, schedule, rules), counted_traffic(net, schedule, rules),
                  replayed_traffic(net, schedule, rules));
  EXPECT_MESSAGE(wrong.empty(), net.name(), ": ", wrong);
}

// Whether a counter of the changed events comes to other bytes than predicted, or refuses them.
template <class Counter>
bool notices(Counter counter, const Network& net, const Plan& plan, const Change& change) {
  Tampering recorder(counter, change);
  try {
    dry_run(net, plan.schedule, plan.schedule.batch, recorder);
  } catch (const Error&) {
    return true;
  }
  return counter.traffic() != plan.predicted;
}

// A change of the first operand of which `where` is true.
struct Fault {
  std::string name;
  Order order;
  std::function<bool(const KernelEvent&, const Operand&)> where;
  std::function<void(KernelEvent&, Operand&)> change;
};

struct Noticed {
  bool by_accountant, by_model;
};
Noticed who_notices(const Fault& fault) {
  const Network net = zoo_network("resnet8");
  const Plan plan = make_plan(net, {fault.order, 7, kMiB, traffic_rules("paper")});
  const auto change_once = [&](bool& done) {
    return [&](KernelEvent& event, std::vector<Operand>& operands) {
      for (Operand& o : operands) {
        if (done || !fault.where(event, o)) continue;
        fault.change(event, o);
        done = true;
      }
      return true;
    };
  };
  bool done[2] = {false, false};
  const Noticed noticed = {notices(Accountant(counting_rules(plan.rules)), net, plan, change_once(done[0])),
                           notices(BufferModel(net, plan.rules), net, plan, change_once(done[1]))};
  CAPTURE(fault.name);
  EXPECT((done[0] && done[1]));
  return noticed;
}

bool forward(const KernelEvent& e) { return e.phase == Phase::forward; }

}  // namespace

TEST_CASE(
    "three witnesses agree for every network, order, buffer and batch, and no pass overfills the buffer") {
  for (const std::string& accounting : traffic_rules_names()) {
    const TrafficRules rules = traffic_rules(accounting);
    std::vector<Network> networks;
    for (const ArchInfo& arch : architectures()) {
      const Network network = zoo_network(arch.name);
      networks.push_back(rules.fused ? fuse_relu(network) : network);
    }
    std::vector<Job> jobs = all_jobs(networks, rules);
    plan_and_replay(jobs);
    size_t distinct = 0;
    for (size_t i = 0; i < jobs.size(); ++i) {
      const Job& job = jobs[i];
      distinct += !job.repeated;
      const bool same = !job.repeated || job.plan.predicted == jobs[i - 1].plan.predicted;
      if (same && job.faults.empty()) continue;
      EXPECT_MESSAGE(false, job.network->name(), ", ", accounting, ", ",
                     std::string(word_of(job.options.order)), ", batch ", job.options.batch, ", ",
                     job.options.buffer_bytes / kMiB, " MiB:\n", job.faults,
                     std::string(same ? "" : "another prediction for the same schedule"));
    }
    CAPTURE(accounting);
    // Six orders, two of them grouped in two ways.
    EXPECT(jobs.size() == architectures().size() * (6 + 2) * 6 * kBatches.size());
    EXPECT(distinct > jobs.size() / 3);  // more than a thousand
  }
}

TEST_CASE("three witnesses agree for random passes over tangled networks") {
  const TrafficRules odd{"odd", Space::in_place, 5, 3, 7};  // bits that do not fill bytes
  for (const Network& net : small_networks()) {
    for (uint64_t seed = 0; seed < 40; ++seed) {
      CAPTURE(seed);
      expect_agreement(net, random_schedule(net, 7, seed), odd);
      expect_agreement(net, random_groups(net, 7, seed), odd);
    }
    expect_agreement(net, forward_only(net, 7, 3), odd);
  }
}

TEST_CASE("an answer that lies is noticed: the accountant believes it, the model does not") {
  const auto reads = [](const Operand& o) { return o.access == Access::read; };
  const auto flip_local = [](KernelEvent&, Operand& o) { o.local = !o.local; };
  const auto flip_chained = [](KernelEvent&, Operand& o) { o.chained = !o.chained; };
  const auto flip_stored = [](KernelEvent&, Operand& o) { o.stored = !o.stored; };
  const Fault faults[] = {
      {"local, of a read", Order::mbs2,
       [&](const auto& e, const Operand& o) { return forward(e) && reads(o) && o.local; }, flip_local},
      {"local, of a write", Order::mbs2,
       [&](const auto& e, const Operand& o) { return forward(e) && !reads(o) && o.local && !o.stored; },
       flip_local},
      {"local, of a gradient", Order::mbs2,
       [](const auto&, const Operand& o) { return o.role == Role::gradient && o.local; }, flip_local},
      {"chained", Order::mbs1,
       [&](const auto&, const Operand& o) { return reads(o) && o.local && o.chained; }, flip_chained},
      {"not chained", Order::mbs1,
       [&](const auto& e, const Operand& o) { return forward(e) && reads(o) && o.local && !o.chained; },
       flip_chained},
      {"sum_local", Order::mbs2, [](const auto&, const Operand& o) { return o.sum_local; },
       [](KernelEvent&, Operand& o) { o.sum_local = false; }},
      {"stored, of a write", Order::mbs1,
       [](const auto& e, const Operand& o) { return forward(e) && o.stored; }, flip_stored},
      {"stored, of a read", Order::mbs1,
       [](const auto& e, const Operand& o) { return !forward(e) && o.stored; }, flip_stored},
  };
  for (const Fault& fault : faults) {
    CAPTURE(fault.name);
    const Noticed noticed = who_notices(fault);
    EXPECT(noticed.by_accountant);
    EXPECT(!noticed.by_model);
  }
}

TEST_CASE("what the model believes must be true") {
  const auto feature = [](const Operand& o) { return o.role == Role::feature; };
  const auto gradient = [](const Operand& o) { return o.role == Role::gradient; };
  const Fault faults[] = {
      {"tensor", Order::mbs2,
       [&](const auto& e, const Operand& o) { return forward(e) && feature(o) && o.tensor > 0; },
       [](KernelEvent&, Operand& o) { ++o.tensor; }},
      {"elems", Order::mbs2, [](const auto&, const Operand& o) { return o.stored; },
       [](KernelEvent&, Operand& o) { ++o.elems; }},
      {"sweeps", Order::baseline, [&](const auto&, const Operand& o) { return gradient(o) && o.sweeps > 1; },
       [](KernelEvent&, Operand& o) { o.sweeps = 1; }},
      {"access", Order::mbs1,
       [&](const auto&, const Operand& o) { return gradient(o) && o.access == Access::accumulate; },
       [](KernelEvent&, Operand& o) { o.access = Access::write; }},
      {"role", Order::mbs2, [](const auto&, const Operand& o) { return o.role == Role::weight; },
       [](KernelEvent&, Operand& o) { o.role = Role::weight_gradient; }},
      {"phase", Order::mbs2, [&](const auto& e, const Operand& o) { return !forward(e) && feature(o); },
       [](KernelEvent& e, Operand&) { e.phase = Phase::forward; }},
      {"reuse", Order::mbs1,
       [&](const auto& e, const Operand& o) {
         return e.reuse == Reuse::chain && feature(o) && o.local && o.access == Access::read;
       },
       [](KernelEvent& e, Operand&) { e.reuse = Reuse::none; }},
      {"chunk", Order::mbs2, [](const auto&, const Operand& o) { return o.local; },
       [](KernelEvent& e, Operand&) { e.chunk = 99; }},
      {"pass", Order::mbs2, [](const auto& e, const Operand& o) { return !forward(e) && o.local; },
       [](KernelEvent& e, Operand&) { e.pass = 99; }},
      {"repeat", Order::mbs2, [](const auto&, const Operand& o) { return o.stored; },
       [](KernelEvent& e, Operand&) { e.repeat = 2; }},
      {"recompute", Order::mbs_r, [](const auto& e, const Operand&) { return e.recompute; },
       [](KernelEvent& e, Operand&) { e.recompute = false; }},
  };
  for (const Fault& fault : faults) {
    CAPTURE(fault.name);
    EXPECT(who_notices(fault).by_model);
  }
}

TEST_CASE("every lost event is noticed by the model") {
  for (const Network& net : {zoo_network("resnet8"), inception_like()}) {
    for (const std::string& order : all_words<Order>()) {
      const Plan plan = make_plan(net, {parse_word<Order>(order), 2, kMiB, traffic_rules("paper")});
      int events = 1;
      for (int lost = 0; lost < events; ++lost) {
        int seen = 0;
        std::string name;
        bool empty = false;  // of a concatenation
        const bool noticed =
            notices(BufferModel(net, plan.rules), net, plan, [&](KernelEvent& e, auto& operands) {
              if (seen == lost) name = e.name, empty = operands.empty();
              return seen++ != lost;
            });
        events = seen;
        CAPTURE(order);
        CAPTURE(name);
        EXPECT((noticed || empty));
      }
      EXPECT(events > net.node_count());
    }
  }
}

TEST_CASE("a prediction for another schedule is noticed") {
  const Network net = zoo_network("resnet8");
  const TrafficRules rules = traffic_rules("paper");
  const Plan plan = make_plan(net, {Order::mbs2, 7, kMiB / 4, rules});
  const Traffic replayed = replayed_traffic(net, plan.schedule, rules);
  EXPECT(predicted_traffic(net, plan.schedule, rules) == replayed);
  Schedule other = plan.schedule;
  REQUIRE(other.passes.size() > 2);
  Pass& last = other.passes.back();
  const auto noticed = [&] { return predicted_traffic(net, other, rules) != replayed; };
  SUBCASE("a pass that keeps less") { last.reuse = Reuse::chain; }
  SUBCASE("a pass in other chunks") { last.sub_batch = last.sub_batch == 7 ? 1 : 7; }
  SUBCASE("a cut less") {
    last.last = other.passes[other.passes.size() - 2].last;
    other.passes.erase(other.passes.end() - 2);
  }
  SUBCASE("a pass that makes values again") { last.recompute = Recompute::branches; }
  EXPECT(noticed());
}

// conv, norm, relu, fc, loss: each call needs its operand and its result, and a value that is made again
// needs place.
TEST_CASE("what is on chip in a chain, written out") {
  Network net("chain", {4, 6, 3});
  TensorId t = net.add("conv", "conv2d out=5 kernel=3 pad=1", {net.input()});
  t = net.add("relu", "relu", {net.add("norm", "group_norm groups=5", {t})});
  net.add("loss", "softmax_loss", {net.add("fc", "linear out=7", {t})});
  const int64_t c = 4 * 6 * 5, logits = 7;
  const auto peak = [&](Reuse backward, Recompute recompute, size_t pass) {
    const Schedule s{"test",
                     5,
                     {{Phase::forward, 0, net.node_count() - 1, 3, Reuse::group},
                      {Phase::backward, 0, net.node_count() - 1, 3, backward, recompute}}};
    BufferModel model(net, traffic_rules("paper"));
    dry_run(net, s, 5, model);
    const std::vector<Occupancy> passes = model.occupancy();
    REQUIRE(passes.size() == 2);
    EXPECT(passes[pass].recomputes == (recompute != Recompute::nothing && pass == 1));
    EXPECT(passes[pass].peak_elems % 3 == 0);
    return passes[pass].peak_elems / 3;
  };
  EXPECT(peak(Reuse::group, Recompute::nothing, 0) == 2 * c);  // norm, relu
  EXPECT(peak(Reuse::group, Recompute::nothing, 1) == 2 * c);  // their gradients; what was stored streams
  // Norm and relu are made again on the way into fc.
  EXPECT(peak(Reuse::group, Recompute::branches, 1) == 2 * c);
  // The norm's input waits for the norm; relu from norm, or the gradient of fc beside its input; that of the
  // logits.
  EXPECT(peak(Reuse::hold, Recompute::branches, 1) == 3 * c + logits);
}

TEST_CASE("a pass that overfills the buffer is noticed") {
  const Network net = zoo_network("resnet50");
  Plan plan = make_plan(net, {Order::mbs2, 32, 10 * kMiB, traffic_rules("conservative")});
  EXPECT(faults(net, plan).empty());
  for (Pass& pass : plan.schedule.passes) pass.sub_batch = std::min(pass.sub_batch + 1, 32);
  plan.predicted = predicted_traffic(net, plan.schedule, plan.rules);
  const std::string found = faults(net, plan);
  EXPECT(found.find("on chip") != std::string::npos);
  EXPECT(found.find("predicted") == std::string::npos);
}
