// `mbs plan`: the group table and the predicted DRAM bytes of a training step.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/commands/command.h"
#include "apps/report/number_text.h"
#include "apps/training/experiment.h"
#include "engine/check.h"
#include "mbs/plan_json.h"

namespace mbs {
namespace {

Table csv_table(const Network& network, const Plan& plan) {
  Table table{{"first", "last", "first_block", "last_block", "sub_batch", "iterations",
               "footprint_bytes_per_sample", "weight_bytes"},
              {}};
  for (const Group& group : plan.groups) {
    const auto name = [&](int block) { return network.blocks()[static_cast<size_t>(block)].name; };
    table.rows.push_back({std::to_string(group.first_block), std::to_string(group.last_block),
                          name(group.first_block), name(group.last_block), std::to_string(group.sub_batch),
                          std::to_string(group.iterations), std::to_string(group.footprint_bytes_per_sample),
                          std::to_string(group.weight_bytes)});
  }
  return table;
}

int run_plan(const PlanCliOptions& options) {
  PlanChoice choice = plan_choice(options.buffer, rules_of(options.accounting, options.fusion));
  choice.grouping = parse_word<Grouping>(options.grouping);
  choice.recompute = parse_recompute(options.recompute);
  const Network network = as_counted(published_network(options), choice.rules);
  const Plan plan = plan_share(network, options.order, options.batch_size, options.cores, choice);
  if (options.json) {
    fmt::print("{}\n", plan_to_json(network, plan).dump(2));
    return 0;
  }
  if (options.csv) {
    fmt::print("{}", to_csv(csv_table(network, plan)));
    return 0;
  }
  const std::string share =
      options.cores > 1 ? fmt::format(" (a core's share of {})", options.batch_size) : "";
  fmt::print("{}, {}, {} samples{}, buffer {}, {} counting\n", network.name(), word_of(plan.order),
             plan.schedule.batch, share, binary_bytes(plan.buffer_bytes), plan.rules.name);
  if (!choice.note.empty()) fmt::print("{}\n", choice.note);
  fmt::print("\n{}\nDRAM bytes of a training step, predicted: {}\n", group_table(network, plan),
             decimal_bytes(plan.predicted.total_bytes()));
  Table classes{{"  class", "read", "written"}, {}};
  for (size_t c = 0; c < kTrafficClasses; ++c)
    classes.rows.push_back({fmt::format("  {}", kTrafficClassNames[c]),
                            decimal_bytes(plan.predicted.read_bytes[c]),
                            decimal_bytes(plan.predicted.write_bytes[c])});
  fmt::print("{}", to_text(classes));
  return 0;
}

class PlanCommand final : public Command {
  PlanCliOptions o_;

  void declare(Parser& parser) override {
    parser({"network,--arch,-a,--model", "network"}, o_.arch);
    parser({"--order", "baseline, il, mbs-fs, mbs1, mbs2 or mbs-r"}, o_.order);
    parser({"--grouping",
            "which blocks share a sub-batch: greedy as published, or the best of all contiguous groupings", 0,
            0, "greedy|optimal"},
           o_.grouping);
    parser({"--batch-size,-b", "images of one update", 1, 1e6}, o_.batch_size);
    parser({"--cores", "data-parallel cores that share the batch", 1, 4096}, o_.cores);
    parser({"--classes", "classes; 0: 10, or 1000 for an ImageNet network", 0, 1e6}, o_.classes);
    parser({"--image-size", "height and width; 0: as the network was published", 0, 4096}, o_.image_size);
    option_lists::order(o_, parser);
    option_lists::network(o_, parser);
    option_lists::formats(o_, parser);
  }

  void settle(const Parser&) override {
    if (o_.arch.empty())
      fail_usage("mbs plan needs the name of a network, such as resnet50; `mbs plan --help` lists them");
  }

  int run() override { return run_plan(o_); }
};

}  // namespace

NETWORK_COMMAND(plan, PlanCommand,
                "which blocks share a sub-batch, and the DRAM bytes of a step; no data needed",
                "The groups of blocks that share a sub-batch, and the DRAM bytes of a training step.",
                "  mbs plan resnet50 --order mbs2 --batch-size 32 --buffer 10MiB\n  mbs plan resnet20 "
                "--order mbs1 --json\n")

}  // namespace mbs
