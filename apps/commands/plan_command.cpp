// `mbs plan`: the group table and the predicted DRAM bytes of a training step.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/commands/commands.h"
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

}  // namespace

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

}  // namespace mbs
