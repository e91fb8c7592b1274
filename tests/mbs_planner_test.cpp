// Which groups the orders make, how far greedy grouping is from the best, and what is refused.
#include <algorithm>
#include <limits>

#include "mbs/planner.h"
#include "tests/doctest.h"
#include "tests/helpers.h"
#include "tests/mbs_networks.h"

using namespace mbs;
using namespace mbs::tests;

namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

PlanOptions options(Order order, int batch, int64_t buffer_bytes, const std::string& accounting = "paper") {
  return {order, batch, buffer_bytes, traffic_rules(accounting)};
}

}  // namespace

TEST_CASE("orders have names") {
  for (const std::string& name : all_words<Order>()) EXPECT(word_of(parse_word<Order>(name)) == name);
  const std::string message = error_of([] { parse_word<Order>("mbs3"); });
  EXPECT(has(message, "mbs3"));
  for (const std::string& name : all_words<Order>()) EXPECT(has(message, name));
  EXPECT(has(error_of([] { traffic_rules("exact"); }), "paper, conservative, fused"));
}

TEST_CASE("an accounting is a preset with switches") {
  const TrafficRules rules = traffic_rules(
      "paper,space=out-of-place,partial-sum-bits=32,feature-bits=8,pool-index-bits=4,sweeps=1,fusion=norm-"
      "relu");
  EXPECT(rules.space == Space::out_of_place);
  EXPECT(rules.partial_sum_bits == 32);
  EXPECT(rules.feature_bits == 8);
  EXPECT(rules.pool_index_bits == 4);
  EXPECT(rules.max_sweeps == 1);
  EXPECT(rules.fused);
  EXPECT(!traffic_rules("fused,fusion=none").fused);
  for (const std::string wrong :
       {"paper,space", "paper,space=", "paper,space=up", "paper,feature-bits=0", "paper,sweeps=3",
        "paper,feature-bits=1x", "paper,colour=blue", "paper,,"}) {
    CAPTURE(wrong);
    EXPECT(has(error_of([&] { traffic_rules(wrong); }), "accounting '" + wrong + "'"));
  }
  // One sweep instead of two is what a baseline saves that holds every operand.
  const Network net = zoo_network("resnet8");
  for (const std::string accounting :
       {"paper,sweeps=1", "conservative,feature-bits=5", "fused,space=in-place"}) {
    CAPTURE(accounting);
    const Plan plan = make_plan(net, options(Order::baseline, 7, 10 * kMiB, accounting));
    EXPECT(plan.predicted == counted_traffic(net, plan.schedule, plan.rules));
  }
  const auto bytes = [&](const std::string& accounting) {
    return make_plan(net, options(Order::baseline, 7, 10 * kMiB, accounting)).predicted.total_bytes();
  };
  EXPECT(bytes("paper,sweeps=1") < bytes("paper"));
}

TEST_CASE("a plan's groups cover the blocks, fit the buffer and are as large as they can be") {
  const Network net = zoo_network("resnet50");
  const int batch = 32;
  for (const std::string& name : all_words<Order>()) {
    CAPTURE(name);
    const Plan plan = make_plan(net, options(parse_word<Order>(name), batch, 10 * kMiB, "conservative"));
    EXPECT(plan.schedule.order == name);
    EXPECT(plan.schedule.batch == batch);
    int next = 0;
    int64_t weight_bytes = 0;
    for (const Group& g : plan.groups) {
      EXPECT(g.first_block == next);
      EXPECT(g.iterations == (batch + g.sub_batch - 1) / g.sub_batch);
      next = g.last_block + 1;
      weight_bytes += g.weight_bytes;
      if (g.treatment == Treatment::layerwise) {
        EXPECT((plan.order == Order::baseline || plan.order == Order::il));
        EXPECT(g.sub_batch == batch);
        continue;
      }
      EXPECT(g.sub_batch * g.footprint_bytes_per_sample <= 10 * kMiB);
      EXPECT((g.sub_batch == batch || (g.sub_batch + 1) * g.footprint_bytes_per_sample > 10 * kMiB));
    }
    EXPECT(next == static_cast<int>(net.blocks().size()));
    EXPECT(weight_bytes == 2 * net.parameter_count());
    EXPECT(plan.predicted == predicted_traffic(net, plan.schedule, plan.rules));
    if (plan.order != Order::baseline && plan.order != Order::il)
      EXPECT(plan.schedule.passes.size() == 2 * plan.groups.size());
    EXPECT(plan.spilled.empty());
  }
  // norm1 needs 3.21 MB out of place: 3 samples in 10 MiB, 11 iterations of 32; the blocks of MBS2 4.82 MB: 2
  // and 16.
  const Plan serial = make_plan(net, options(Order::mbs_fs, batch, 10 * kMiB, "conservative"));
  REQUIRE(serial.groups.size() == 1);
  EXPECT(serial.groups[0].sub_batch == 3);
  EXPECT(serial.groups[0].iterations == 11);
  const Plan mbs2 = make_plan(net, options(Order::mbs2, batch, 10 * kMiB, "conservative"));
  EXPECT(mbs2.groups[0].sub_batch == 2);
  EXPECT(mbs2.groups[0].iterations == 16);
}

TEST_CASE("better orders move less, and MBS2 about a quarter of the baseline") {
  for (const std::string arch : {"resnet20", "resnet56", "resnet18", "resnet50"}) {
    CAPTURE(arch);
    const Network net = zoo_network(arch);
    const auto total = [&](Order order) {
      return make_plan(net, options(order, 32, 10 * kMiB)).predicted.total_bytes();
    };
    const int64_t baseline = total(Order::baseline), fs = total(Order::mbs_fs), mbs1 = total(Order::mbs1);
    const int64_t mbs2 = total(Order::mbs2);
    EXPECT(mbs2 <= mbs1);
    EXPECT(mbs1 <= fs);
    EXPECT(fs <= baseline);
  }
  const Network net = zoo_network("resnet50");
  const auto total = [&](Order order) {
    return static_cast<double>(make_plan(net, options(order, 32, 10 * kMiB)).predicted.total_bytes());
  };
  const double reduction = 1 - total(Order::mbs2) / total(Order::baseline);
  EXPECT(reduction > 0.65);
  EXPECT(reduction < 0.78);
}

TEST_CASE("a block that does not fit spills where that is allowed, and is reported") {
  const Network net = zoo_network("resnet50");
  PlanOptions o = options(Order::mbs2, 32, kMiB);
  EXPECT(has(error_of([&] { make_plan(net, o); }), "smallest buffer"));
  o.spill = true;
  for (const Order order : {Order::mbs_fs, Order::mbs1, Order::mbs2}) {
    o.order = order;
    const Plan plan = make_plan(net, o);
    CAPTURE(std::string(word_of(order)));
    EXPECT(!plan.spilled.empty());
    EXPECT(plan.spilled.size() < net.blocks().size());
    for (const Group& g : plan.groups) {
      for (int b = g.first_block; b <= g.last_block; ++b) {
        const bool spilled = std::find(plan.spilled.begin(), plan.spilled.end(), b) != plan.spilled.end();
        EXPECT(spilled == (g.treatment == Treatment::layerwise));
      }
    }
    EXPECT(plan.predicted == counted_traffic(net, plan.schedule, plan.rules));
  }
  o.buffer_bytes = 1;
  EXPECT(make_plan(net, o).spilled.size() == net.blocks().size());
  PlanOptions base = o;
  base.order = Order::baseline;
  EXPECT(make_plan(net, o).predicted == make_plan(net, base).predicted);
}

TEST_CASE("extreme sizes of batch and buffer") {
  const Network net = zoo_network("resnet8");
  for (const std::string& name : all_words<Order>()) {
    CAPTURE(name);
    const Plan one = make_plan(net, options(parse_word<Order>(name), 1, 10 * kMiB));
    for (const Group& g : one.groups) EXPECT((g.sub_batch == 1 && g.iterations == 1));
    const Plan roomy = make_plan(net, options(parse_word<Order>(name), 37, int64_t{1} << 60));
    for (const Group& g : roomy.groups) EXPECT((g.sub_batch == 37 && g.iterations == 1));
    const Plan large = make_plan(net, options(parse_word<Order>(name), kMaxBatch, 10 * kMiB));
    EXPECT(large.predicted.total_bytes() > 0);
    EXPECT(has(error_of([&] { make_plan(net, options(parse_word<Order>(name), 0, kMiB)); }), "batch"));
    EXPECT(has(error_of([&] { make_plan(net, options(parse_word<Order>(name), kMaxBatch + 1, kMiB)); }),
               "batch"));
    EXPECT(has(error_of([&] { make_plan(net, options(parse_word<Order>(name), 1, 0)); }), "buffer"));
  }
}

TEST_CASE("a buffer that is too small for one sample is refused, and the message's way out works") {
  const Network net = zoo_network("resnet8");
  // The first block: conv2 with its input and output, and the block's input, 32 x 32 x 16 x 2 bytes each.
  const int64_t smallest = 3 * 32 * 32 * 16 * 2;
  const std::string message = error_of([&] { make_plan(net, options(Order::mbs2, 8, smallest - 1)); });
  CAPTURE(message);
  EXPECT(has(message, "layer1.0"));
  EXPECT(has(message, std::to_string(smallest)));
  EXPECT(has(message, std::to_string(smallest - 1)));
  EXPECT(make_plan(net, options(Order::mbs2, 8, smallest)).groups[0].sub_batch == 1);
  EXPECT(make_plan(net, options(Order::baseline, 8, 1)).groups[0].sub_batch == 8);  // needs no buffer
}

TEST_CASE("batch norm is refused where it would be split, and only there") {
  const Network net = zoo_network("resnet8", Shortcut::standard, Norm::batch);
  const std::string message = error_of([&] { make_plan(net, options(Order::mbs1, 37, kMiB)); });
  EXPECT(has(message, "bn1"));
  EXPECT(has(message, "--norm gn"));
  EXPECT(make_plan(net, options(Order::mbs1, 5, 10 * kMiB)).groups.size() == 1);
  EXPECT(make_plan(net, options(Order::baseline, 37, kMiB)).schedule.batch == 37);
}

TEST_CASE("the table of groups has a line for each") {
  const Network net = zoo_network("resnet8");
  const Plan plan = make_plan(net, options(Order::mbs2, 37, 200 << 10));
  const std::string table = group_table(net, plan);
  EXPECT(static_cast<size_t>(std::count(table.begin(), table.end(), '\n')) == plan.groups.size() + 1);
  EXPECT(has(table, "conv1 .. "));
}
