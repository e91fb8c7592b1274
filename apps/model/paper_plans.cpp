// The tables of the paper that need plans, and no walk over the step.
#include <fmt/format.h>

#include <algorithm>

#include "apps/model/paper_tables.h"
#include "apps/report/number_text.h"
#include "mbs/footprint.h"

namespace mbs {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kBuffers[] = {5 * kMiB, 10 * kMiB, 20 * kMiB, 40 * kMiB};
constexpr int64_t kBufferStep = kMiB / 4;  // of the search for the smallest buffer
constexpr double kNearShare = 0.05;

Scenario scenario_of(const PaperModel& model, size_t network) {
  Scenario scenario = model.scenario;
  scenario.batch_per_core = default_batch(model.networks[network].name());
  return scenario;
}

// DRAM bytes of a step of the chip.
int64_t planned_bytes(const Network& network, const std::string& configuration, const Scenario& scenario) {
  const Plan plan = plan_step(network, parse_configuration(configuration), scenario);
  return plan.predicted.total_bytes() * scenario.machine.chip_cores;
}

int64_t baseline_bytes(const PaperModel& model, size_t network) {
  return model.steps[network].front().cost.traffic.total_bytes();
}

double ratio(int64_t a, int64_t b) { return static_cast<double>(a) / static_cast<double>(b); }

// The smallest multiple of kBufferStep with which the best grouping of MBS2 moves at most `bytes`. A larger
// buffer never moves more under that grouping, so a bisection finds it.
int64_t smallest_buffer(const Network& network, Scenario scenario, int64_t largest, int64_t bytes) {
  int64_t below = 0, enough = largest / kBufferStep;
  while (enough - below > 1) {
    const int64_t middle = (below + enough) / 2;
    scenario.machine.global_buffer_bytes = middle * kBufferStep;
    (planned_bytes(network, "MBS2", scenario) <= bytes ? enough : below) = middle;
  }
  return enough * kBufferStep;
}

// Group numbers of a plan by block, from 1.
std::vector<int64_t> group_of_blocks(const Plan& plan, size_t blocks) {
  std::vector<int64_t> numbers(blocks, 0);
  for (size_t g = 0; g < plan.groups.size(); ++g)
    for (int b = plan.groups[g].first_block; b <= plan.groups[g].last_block; ++b)
      numbers[static_cast<size_t>(b)] = static_cast<int64_t>(g) + 1;
  return numbers;
}

}  // namespace

DataTable buffer_table(const PaperModel& model) {
  DataTable table{"buffers",
                  "DRAM traffic relative to Baseline, by on-chip buffer of a core",
                  {},
                  {{"network", "network"}, {"configuration", "configuration"}},
                  {}};
  for (const int64_t buffer : kBuffers)
    table.columns.push_back(
        {fmt::format("relative_{}mib", buffer / kMiB), binary_bytes(buffer), Unit::share});
  for (size_t n = 0; n < model.networks.size(); ++n) {
    for (const char* configuration : {"IL", "MBS-FS", "MBS1", "MBS2"}) {
      std::vector<Cell> row = {model.networks[n].name(), configuration};
      for (const int64_t buffer : kBuffers) {
        Scenario scenario = scenario_of(model, n);
        scenario.machine.global_buffer_bytes = buffer;
        row.push_back(
            ratio(planned_bytes(model.networks[n], configuration, scenario), baseline_bytes(model, n)));
      }
      table.rows.push_back(std::move(row));
    }
  }
  return table;
}

DataTable batch_table(const PaperModel& model) {
  constexpr int kBatches[] = {8, 16, 32, 64, 128};
  DataTable table{"batches",
                  "DRAM traffic of MBS2 relative to Baseline, by samples of a core",
                  {},
                  {{"network", "network"}},
                  {}};
  for (const int batch : kBatches)
    table.columns.push_back({fmt::format("relative_{}", batch), std::to_string(batch), Unit::share});
  for (size_t n = 0; n < model.networks.size(); ++n) {
    std::vector<Cell> row = {model.networks[n].name()};
    for (const int batch : kBatches) {
      Scenario scenario = model.scenario;
      scenario.batch_per_core = batch;
      row.push_back(ratio(planned_bytes(model.networks[n], "MBS2", scenario),
                          planned_bytes(model.networks[n], "Baseline", scenario)));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

DataTable smallest_buffer_table(const PaperModel& model) {
  DataTable table{"smallest_buffers",
                  "The smallest buffer with which MBS2 comes within 5 % of its traffic at 40 MiB",
                  {"Optimal grouping, in steps of 256 KiB: with it a larger buffer never moves more."},
                  {{"network", "network"},
                   {"dram_bytes_40mib", "DRAM at 40 MiB", Unit::traffic},
                   {"smallest_buffer_bytes", "smallest buffer", Unit::buffer},
                   {"dram_bytes", "DRAM there", Unit::traffic}},
                  {}};
  for (size_t n = 0; n < model.networks.size(); ++n) {
    const Network& network = model.networks[n];
    Scenario scenario = scenario_of(model, n);
    scenario.grouping = Grouping::optimal;
    const int64_t largest = scenario.machine.global_buffer_bytes = 40 * kMiB;
    const int64_t bytes = planned_bytes(network, "MBS2", scenario);
    const auto enough = static_cast<int64_t>(static_cast<double>(bytes) * (1 + kNearShare));
    const int64_t buffer = smallest_buffer(network, scenario, largest, enough);
    scenario.machine.global_buffer_bytes = buffer;
    table.rows.push_back({network.name(), bytes, buffer, planned_bytes(network, "MBS2", scenario)});
  }
  return table;
}

DataTable grouping_table(const PaperModel& model) {
  DataTable table{"grouping",
                  "Greedy grouping against the best of all contiguous groupings",
                  {"Gap: what greedy grouping moves more than the optimum."},
                  {{"network", "network"},
                   {"configuration", "configuration"},
                   {"greedy_bytes", "greedy", Unit::traffic},
                   {"optimal_bytes", "optimal", Unit::traffic},
                   {"gap", "gap", Unit::share}},
                  {}};
  for (size_t n = 0; n < model.networks.size(); ++n) {
    for (const char* configuration : {"MBS1", "MBS2"}) {
      Scenario scenario = scenario_of(model, n);
      scenario.grouping = Grouping::greedy;
      const int64_t greedy = planned_bytes(model.networks[n], configuration, scenario);
      scenario.grouping = Grouping::optimal;
      const int64_t optimal = planned_bytes(model.networks[n], configuration, scenario);
      table.rows.push_back(
          {model.networks[n].name(), configuration, greedy, optimal, ratio(greedy, optimal) - 1});
    }
  }
  return table;
}

DataTable groups_table(const PaperModel& model) {
  const Network& network = model.networks.front();
  DataTable table{
      "groups",
      fmt::format("The groups of {}", network.name()),
      {"A group's blocks share a sub-batch and run one after the other for each; `#` is a chunk."},
      {{"configuration", "configuration"},
       {"blocks", "blocks"},
       {"block_count", "blocks", Unit::count},
       {"space_bytes", "bytes/sample", Unit::traffic},
       {"weight_bytes", "weights", Unit::traffic},
       {"sub_batch", "sub-batch", Unit::count},
       {"iterations", "iterations", Unit::count},
       {"chunks", "chunks"}},
      {}};
  for (const SimulatedStep& step : model.steps.front()) {
    if (!step.configuration.order.starts_with("mbs")) continue;
    for (const Group& group : step.plan.groups) {
      table.rows.push_back({step.configuration.name, group_name(network, group),
                            int64_t{group.last_block - group.first_block + 1},
                            group.footprint_bytes_per_sample, group.weight_bytes, int64_t{group.sub_batch},
                            int64_t{group.iterations},
                            std::string(static_cast<size_t>(group.iterations), '#')});
    }
  }
  return table;
}

DataTable space_table(const PaperModel& model) {
  const Network& network = model.networks.front();
  const int64_t buffer = model.scenario.machine.global_buffer_bytes;
  const int batch = model.scenario.batch_per_core;
  const TrafficRules& rules = model.scenario.rules;
  DataTable table{
      "space",
      fmt::format("Space per sample of every block of {}, and the group that it is in", network.name()),
      {fmt::format("Samples: how many fit the buffer of {}, at most {}. Groups are numbered.",
                   binary_bytes(buffer), batch)},
      {{"block", "block"},
       {"mbs1_bytes", "MBS1 space", Unit::traffic},
       {"mbs1_samples", "samples", Unit::count},
       {"mbs1_group", "group", Unit::count},
       {"mbs2_bytes", "MBS2 space", Unit::traffic},
       {"mbs2_samples", "samples", Unit::count},
       {"mbs2_group", "group", Unit::count}},
      {}};
  for (const Block& block : network.blocks()) table.rows.push_back({block.name});
  for (const SimulatedStep& step : model.steps.front()) {
    const bool mbs2 = step.configuration.name == "MBS2";
    if (!mbs2 && step.configuration.name != "MBS1") continue;
    const std::vector<int64_t> groups = group_of_blocks(step.plan, table.rows.size());
    for (size_t b = 0; b < table.rows.size(); ++b) {
      const int64_t bytes =
          footprint_bytes(network, network.blocks()[b], rules.space,
                          mbs2 ? Sharing::across_branches : Sharing::within_branch, rules.feature_bits);
      table.rows[b].insert(
          table.rows[b].end(),
          {bytes, std::min<int64_t>(buffer / std::max<int64_t>(bytes, 1), batch), groups[b]});
    }
  }
  return table;
}

DataTable exchange_table(const PaperModel& model) {
  constexpr int kChips[] = {2, 4, 8, 64};
  DataTable table{
      "gradient_exchange",
      "Weight gradients that each of several data-parallel chips sends per step",
      {fmt::format("Summed in a ring: 2 (chips - 1) / chips of the gradients, {} bits each. The same "
                   "for every configuration.",
                   model.scenario.rules.partial_sum_bits)},
      {{"network", "network"}, {"parameters", "parameters", Unit::count}},
      {}};
  for (const int chips : kChips)
    table.columns.push_back(
        {fmt::format("bytes_{}_chips", chips), fmt::format("{} chips", chips), Unit::traffic});
  for (const Network& network : model.networks) {
    std::vector<Cell> row = {network.name(), network.parameter_count()};
    for (const int chips : kChips)
      row.push_back(gradient_exchange_bytes(network, model.scenario.rules, chips));
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace mbs
