// How far greedy grouping is from the best, and the best from everything else that could be.
#include <algorithm>
#include <functional>
#include <limits>

#include "engine/check.h"
#include "mbs/footprint.h"
#include "mbs/group_costs.h"
#include "mbs/group_sizes.h"
#include "mbs/planner.h"
#include "mbs/recompute_footprint.h"
#include "mbs/traffic_terms.h"
#include "tests/doctest.h"
#include "tests/helpers.h"
#include "tests/mbs_networks.h"
#include "tests/reference/living_tensors.h"

using namespace mbs;
using namespace mbs::tests;

namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

PlanOptions options(Order order, int batch, int64_t buffer_bytes, const std::string& accounting = "paper") {
  return {order, batch, buffer_bytes, traffic_rules(accounting)};
}

// All contiguous groupings: bit b - 1 of `cuts` says that block b starts a group.
int64_t best_of_all(const Network& net, const PlanOptions& o) {
  int64_t best = std::numeric_limits<int64_t>::max();
  const auto blocks = net.blocks().size();
  for (uint64_t cuts = 0; cuts < uint64_t{1} << (blocks - 1); ++cuts) {
    std::vector<int> first_blocks = {0};
    for (size_t b = 1; b < blocks; ++b)
      if (cuts >> (b - 1) & 1) first_blocks.push_back(static_cast<int>(b));
    best = std::min(best, plan_with_groups(net, o, first_blocks).predicted.total_bytes());
  }
  return best;
}

// The groups that blocks [first, end) and what is before and after them make.
Plan plan_with_span(const Network& net, const PlanOptions& o, int first, int end) {
  std::vector<int> first_blocks = {0};
  if (first > 0) first_blocks.push_back(first);
  if (end < static_cast<int>(net.blocks().size())) first_blocks.push_back(end);
  return plan_with_groups(net, o, first_blocks);
}

// Traffic is a constant, plus per group the iterations times what its parameters cost in one, plus per
// boundary what crosses it. So the best grouping is a dynamic programme over where groups end. Returns its
// cost, and the groups.
struct Best {
  int64_t total_bytes;
  std::vector<int> first_blocks;
};
Best best_by_programme(const Network& net, const PlanOptions& o) {
  const int blocks = static_cast<int>(net.blocks().size());
  const int64_t stem_bytes = plan_with_span(net, o, 0, 1).groups[0].weight_bytes;
  // Weights are read twice (the first convolution's once), their gradients written and read.
  const int64_t moves = 2 + 2 * o.rules.partial_sum_bits / o.rules.feature_bits;
  const auto parameters = [&](const Group& g) {
    return g.iterations * (moves * g.weight_bytes - (g.first_block == 0 ? stem_bytes : 0));
  };
  const auto all_parameters = [&](const Plan& plan) {
    int64_t sum = 0;
    for (const Group& g : plan.groups) sum += parameters(g);
    return sum;
  };
  const Plan whole = plan_with_groups(net, o, std::vector<int>{0});
  const int64_t constant = whole.predicted.total_bytes() - all_parameters(whole);
  const auto boundary = [&](int b) {
    const Plan cut = plan_with_span(net, o, b, blocks);
    return b == 0 ? 0 : cut.predicted.total_bytes() - constant - all_parameters(cut);
  };
  std::vector<Best> best(static_cast<size_t>(blocks) + 1, {std::numeric_limits<int64_t>::max(), {}});
  best[0] = {constant, {}};
  for (int first = 0; first < blocks; ++first) {
    const Best& before = best[static_cast<size_t>(first)];
    const int64_t cut_bytes = boundary(first);
    for (int end = first + 1; end <= blocks; ++end) {
      const Plan plan = plan_with_span(net, o, first, end);
      const int64_t bytes = before.total_bytes + cut_bytes + parameters(plan.groups[first > 0 ? 1 : 0]);
      Best& here = best[static_cast<size_t>(end)];
      if (bytes >= here.total_bytes) continue;
      here = {bytes, before.first_blocks};
      here.first_blocks.push_back(first);
    }
  }
  return best.back();
}

int64_t largest_footprint(const Network& net, Space space, int first, int last) {
  int64_t largest = 0;
  for (int b = first; b <= last; ++b)
    largest = std::max(
        largest, footprint_elems(net, net.blocks()[static_cast<size_t>(b)], space, Sharing::across_branches));
  return largest;
}

// Seven blocks: conv0, norm, two residual blocks, a convolution, the classifier and the loss.
Network tiny_residual() {
  Network n("tiny-residual", {6, 6, 3});
  TensorId x = n.add("conv0", "conv2d out=8 kernel=3 pad=1", {n.input()});
  x = n.add("norm0", "group_norm groups=4", {x});
  n.begin_block("block", Block::Kind::residual);
  TensorId main = n.add("a", "conv2d out=8 kernel=3 pad=1", {x});
  main = n.add("b", "conv2d out=8 kernel=1",
               {n.add("ra", "relu", {n.add("na", "group_norm groups=2", {main})})});
  n.join();
  x = n.add("r", "relu", {n.add("add", "add", {main, x})});
  n.end_block();
  n.begin_block("block2", Block::Kind::residual);
  main = n.add("nc", "group_norm groups=4", {n.add("c", "conv2d out=8 kernel=3 pad=1", {x})});
  n.join();
  x = n.add("r2", "relu", {n.add("add2", "add", {main, x})});
  n.end_block();
  x = n.add("conv1", "conv2d out=16 kernel=3 stride=2 pad=1", {x});
  n.add("loss", "softmax_loss", {n.add("fc", "linear out=4", {x})});
  return n;
}

// Five blocks, of which one widens: few enough for every treatment there is.
Network tiny_bottleneck() {
  Network n("tiny-bottleneck", {12, 12, 3});
  TensorId x = n.add("conv0", "conv2d out=8 kernel=3 pad=1", {n.input()});
  n.begin_block("block", Block::Kind::residual);
  TensorId main = n.add("a", "conv2d out=4 kernel=3 pad=1", {x});
  main = n.add("b", "conv2d out=8 kernel=1", {n.add("na", "group_norm groups=2", {main})});
  main = n.add("nb", "group_norm groups=2", {main});
  n.join();
  x = n.add("r", "relu", {n.add("add", "add", {main, x})});
  n.end_block();
  x = n.add("conv1", "conv2d out=16 kernel=3 stride=2 pad=1", {x});
  n.add("loss", "softmax_loss", {n.add("fc", "linear out=4", {x})});
  return n;
}

}  // namespace

TEST_CASE("greedy grouping is close to the best of all groupings") {
  for (const std::string arch : {"small_cnn", "resnet8"}) {
    const Network net = zoo_network(arch);
    for (Order order : {Order::mbs1, Order::mbs2}) {
      for (int64_t buffer : {128 << 10, 200 << 10, 777 << 10}) {
        const PlanOptions o = options(order, 37, buffer);
        const int64_t greedy = make_plan(net, o).predicted.total_bytes();
        const int64_t best = best_of_all(net, o);
        CAPTURE(arch);
        CAPTURE(buffer);
        EXPECT(greedy >= best);
        EXPECT(static_cast<double>(greedy) <= 1.02 * static_cast<double>(best));
        EXPECT(best_by_programme(net, o).total_bytes == best);
      }
    }
  }
}

TEST_CASE("greedy grouping of ResNet-50 is within 2 % of the dynamic programme") {
  const Network net = zoo_network("resnet50");
  for (Order order : {Order::mbs1, Order::mbs2}) {
    const PlanOptions o = options(order, 32, 10 * kMiB);
    const Best best = best_by_programme(net, o);
    EXPECT(plan_with_groups(net, o, best.first_blocks).predicted.total_bytes() == best.total_bytes);
    const int64_t greedy = make_plan(net, o).predicted.total_bytes();
    EXPECT(greedy >= best.total_bytes);
    EXPECT(static_cast<double>(greedy) <= 1.02 * static_cast<double>(best.total_bytes));
  }
}

TEST_CASE("the optimal grouping is the best of all groupings in all treatments") {
  // Every grouping of the blocks, and every treatment of each group: 3 * 4^(blocks - 1) plans.
  const auto best_of_everything = [](const Network& net, const PlanOptions& o) {
    const int blocks = static_cast<int>(net.blocks().size());
    const bool recomputes = o.order == Order::mbs_r;
    std::vector<Treatment> treatments = {Treatment::layerwise, Treatment::chain};
    if (o.order != Order::mbs1) treatments.push_back(Treatment::group);
    if (recomputes)
      treatments.insert(treatments.end(), {Treatment::stream_branches, Treatment::stream_joins,
                                           Treatment::hold_branches, Treatment::hold_joins});
    if (recomputes && o.recompute == Recompute::expansions)
      treatments.insert(treatments.end(), {Treatment::stream_expansions, Treatment::hold_expansions});
    int64_t best = std::numeric_limits<int64_t>::max();
    std::vector<GroupChoice> groups;
    const std::function<void(int)> extend = [&](int block) {
      if (block == blocks) {
        try {
          best = std::min(best, plan_with_groups(net, o, groups).predicted.total_bytes());
        } catch (const Error&) {  // a group that does not fit
        }
        return;
      }
      const NodeId first = net.blocks()[static_cast<size_t>(block)].first;
      const bool may_begin = !recomputes || can_begin_recomputing(net, first);
      for (const Treatment t : treatments) {
        if (!may_begin) break;
        groups.push_back({block, t});
        extend(block + 1);
        groups.pop_back();
      }
      if (groups.empty()) return;
      extend(block + 1);  // it joins the group before it
      const auto joins = joining_treatments(o.recompute);
      if (!may_begin || std::find(joins.begin(), joins.end(), groups.back().treatment) == joins.end()) return;
      groups.back().kept.push_back(block);  // ... and its input is stored
      extend(block + 1);
      groups.back().kept.pop_back();
    };
    extend(0);
    return best;
  };
  struct Case {
    Order order;
    Recompute recompute;
  };
  for (const Network& net : {tiny_residual(), inception_like(), tiny_bottleneck()}) {
    for (const auto& [order, recompute] : {Case{Order::mbs1, {}},
                                           {Order::mbs2, {}},
                                           {Order::mbs_r, Recompute::joins},
                                           {Order::mbs_r, Recompute::expansions}}) {
      for (const int64_t buffer : {200, 700, 1500, 2500, 4000, 9000, 20000}) {
        // Seven treatments take long, nine longer.
        const bool expands = recompute == Recompute::expansions;
        if (expands != (net.name() == "tiny-bottleneck")) continue;
        if (expands ? buffer < 9000 : order == Order::mbs_r && buffer != 1500 && buffer != 4000) continue;
        PlanOptions o = options(order, 16, buffer, "conservative");  // a batch of 16 leaves no bits over
        o.recompute = recompute;
        o.grouping = Grouping::optimal;
        o.spill = true;
        CAPTURE(net.name());
        CAPTURE(buffer);
        int64_t best = best_of_everything(net, o);
        if (order == Order::mbs_r) {  // which may also cut where nothing is made again
          PlanOptions mbs2 = o;
          mbs2.order = Order::mbs2;
          best = std::min(best, best_of_everything(net, mbs2));
        }
        const Plan plan = make_plan(net, o);
        EXPECT(plan.predicted.total_bytes() == best);
        if (expands)  // where the best grouping does make them again
          EXPECT(std::any_of(plan.groups.begin(), plan.groups.end(), [](const Group& g) {
            return keeping_of(g.treatment).recompute == Recompute::expansions;
          }));
      }
    }
  }
}

TEST_CASE("a group that makes values again needs what lives at once in its program") {
  for (const std::string arch : {"resnet20", "resnet18", "resnet50"}) {
    const Network net = zoo_network(arch);
    const int blocks = static_cast<int>(net.blocks().size());
    for (const Recompute recompute : {Recompute::branches, Recompute::joins, Recompute::expansions}) {
      for (const Reuse backward : {Reuse::group, Reuse::hold}) {
        for (const Space space : {Space::in_place, Space::out_of_place}) {
          const auto table = recompute_footprints(net, space, recompute, backward, int64_t{1} << 30);
          for (int first = 0; first < blocks; ++first) {
            if (!can_begin_recomputing(net, net.blocks()[static_cast<size_t>(first)].first)) continue;
            for (int last = first; last < blocks; last += 3) {
              CAPTURE(arch);
              CAPTURE(first);
              CAPTURE(last);
              EXPECT(table[static_cast<size_t>(first)][static_cast<size_t>(last)] ==
                     std::max(largest_footprint(net, space, first, last),
                              mbs::reference::living_elems(net, space, recompute, backward, first, last)));
            }
          }
        }
      }
    }
  }
}

TEST_CASE("MBS-R moves less than MBS2, and no less than the norm inputs out and back") {
  for (const std::string arch : {"resnet20", "resnet56", "resnet18", "resnet50"}) {
    CAPTURE(arch);
    const Network net = zoo_network(arch);
    const Plan again = make_plan(net, options(Order::mbs_r, 32, 10 * kMiB));
    const Plan mbs2 = make_plan(net, options(Order::mbs2, 32, 10 * kMiB));
    EXPECT(again.predicted == counted_traffic(net, again.schedule, again.rules));
    EXPECT(again.predicted.total_bytes() < mbs2.predicted.total_bytes());
    int64_t norm_inputs = 0;
    for (const Node& node : net.nodes())
      if (node.spec.starts_with("group_norm")) norm_inputs += net.tensor(node.in[0]).shape.elems();
    EXPECT(again.predicted.class_bytes(TrafficClass::stored_features) >= 2 * 2 * 32 * norm_inputs);
  }
  // On CIFAR networks everything that is made again fits.
  const Network net = zoo_network("resnet20");
  const int64_t mbs2 = make_plan(net, options(Order::mbs2, 32, 10 * kMiB)).predicted.total_bytes();
  EXPECT(make_plan(net, options(Order::mbs_r, 32, 10 * kMiB)).predicted.total_bytes() < mbs2 * 3 / 4);
}

TEST_CASE("bottlenecks whose last convolution is made again store its input only, and compute it once more") {
  const Network net = zoo_network("resnet50");
  const auto step = [&](Recompute recompute) {
    PlanOptions o = options(Order::mbs_r, 4, 40 * kMiB);
    o.recompute = recompute;
    return make_plan(net, o);
  };
  const Plan cheap = step(Recompute::joins), expanding = step(Recompute::expansions);
  const auto stored = [](const Plan& p) { return p.predicted.class_bytes(TrafficClass::stored_features); };
  EXPECT(stored(expanding) < stored(cheap) * 3 / 5);
  EXPECT(expanding.predicted.total_bytes() < cheap.predicted.total_bytes());

  // By hand: a bottleneck's last 1x1 convolution takes w to 4 w channels, and where the shape changes a
  // second one goes around it, on out x out pixels: 64 and 256 to 256 (56), 128 and 256 to 512 (28), ...
  const auto macs = [](int64_t out, int64_t width, int64_t in, int64_t blocks) {
    return out * out * 4 * width * (blocks * width + in);
  };
  const int64_t expansions =
      macs(56, 64, 64, 3) + macs(28, 128, 256, 4) + macs(14, 256, 512, 6) + macs(7, 512, 1024, 3);
  struct Macs : Recorder {
    int64_t again = 0;
    void on_kernel(const KernelEvent& e) override {
      for (const GemmShape& gemm : e.gemms) again += e.recompute ? gemm.macs() : 0;
    }
  } counted;
  dry_run(net, expanding.schedule, 4, counted);
  EXPECT(counted.again == 4 * expansions);
}

TEST_CASE("orders that may do more never move more, nor does a larger buffer make any worse") {
  for (const std::string arch : {"resnet20", "resnet18", "resnet50", "small_cnn"}) {
    const Network net = zoo_network(arch);
    int64_t last_optimal = std::numeric_limits<int64_t>::max();
    for (const int64_t mib : {1, 2, 5, 10, 20, 40}) {
      const auto total = [&](Order order) {
        PlanOptions o = options(order, 32, mib * kMiB);
        o.grouping = Grouping::optimal;
        o.spill = true;
        return make_plan(net, o).predicted.total_bytes();
      };
      CAPTURE(arch);
      CAPTURE(mib);
      EXPECT(total(Order::mbs_r) <= total(Order::mbs2));
      const int64_t mbs2 = total(Order::mbs2), mbs1 = total(Order::mbs1), il = total(Order::il);
      EXPECT(mbs2 <= mbs1);
      EXPECT(mbs1 <= il);
      EXPECT(il <= total(Order::baseline));
      EXPECT(mbs2 <= last_optimal);
      last_optimal = mbs2;
    }
  }
}
