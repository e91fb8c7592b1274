#include "apps/model/paper_tables.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/model/step_table.h"
#include "engine/check.h"

namespace mbs {
namespace {

constexpr const char* kReported = "reported by the abstract";

size_t index_of(const std::string& configuration) {
  const auto all = all_configurations();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Configuration& c) { return c.name == configuration; });
  CHECK(found != all.end(), "no configuration {}", configuration);
  return static_cast<size_t>(found - all.begin());
}

size_t deep_count() { return deep_networks().size(); }

Machine with_memory(Machine machine, const std::string& memory) {
  machine.memory = memory_preset(memory);
  return machine;
}

Gains mean(const std::vector<Gains>& all) {
  Gains sum;
  for (const Gains& g : all) {
    sum.traffic += g.traffic;
    sum.performance += g.performance;
    sum.time += g.time;
    sum.energy += g.energy;
  }
  const auto n = static_cast<double>(all.size());
  return {sum.traffic / n, sum.performance / n, sum.time / n, sum.energy / n};
}

std::vector<Column> with_gains(std::vector<Column> columns) {
  columns.insert(columns.end(), {{"traffic_saved", "traffic saved", Unit::share},
                                 {"performance_gained", "performance gained", Unit::share},
                                 {"time_saved", "time saved", Unit::share},
                                 {"energy_saved", "energy saved", Unit::share}});
  return columns;
}

struct Relative {
  double seconds = 0, joules = 0;
};

// A configuration on this machine, relative to Baseline with hbm2: the mean over the deep networks.
Relative mean_to_baseline(const PaperModel& model, size_t configuration, const Machine& machine) {
  const Machine usual = with_memory(machine, "hbm2");
  Relative mean_of;
  for (size_t n = 0; n < deep_count(); ++n) {
    const StepCost base = step_cost(usual, model.steps[n][index_of("Baseline")].work, model.scenario.overlap);
    const StepCost cost = step_cost(machine, model.steps[n][configuration].work, model.scenario.overlap);
    mean_of.seconds += cost.seconds / base.seconds / static_cast<double>(deep_count());
    mean_of.joules += cost.energy.total() / base.energy.total() / static_cast<double>(deep_count());
  }
  return mean_of;
}

}  // namespace

PaperModel make_paper_model(const Scenario& scenario) {
  PaperModel model{scenario, {}, {}};
  for (const std::string& name : paper_networks()) {
    model.networks.push_back(published_network(name, scenario.rules));
    Scenario own = scenario;
    own.batch_per_core = default_batch(name);
    std::vector<SimulatedStep> steps;
    for (const Configuration& configuration : all_configurations())
      steps.push_back(simulate(model.networks.back(), configuration, own));
    model.steps.push_back(std::move(steps));
  }
  return model;
}

Gains gains(const StepCost& baseline, const StepCost& improved) {
  return {1 - static_cast<double>(improved.traffic.total_bytes()) /
                  static_cast<double>(baseline.traffic.total_bytes()),
          baseline.seconds / improved.seconds - 1, 1 - improved.seconds / baseline.seconds,
          1 - improved.energy.total() / baseline.energy.total()};
}

Gains mean_gains(const PaperModel& model, const Machine& machine, Overlap overlap) {
  std::vector<Gains> all;
  for (size_t n = 0; n < deep_count(); ++n)
    all.push_back(gains(step_cost(machine, model.steps[n][index_of("Baseline")].work, overlap),
                        step_cost(machine, model.steps[n][index_of("MBS2")].work, overlap)));
  return mean(all);
}

DataTable results_table(const PaperModel& model) {
  std::vector<StepRow> rows;
  for (size_t n = 0; n < model.networks.size(); ++n)
    for (size_t c = 0; c < paper_configurations().size(); ++c)
      rows.push_back({model.networks[n].name(), &model.steps[n][c], &model.steps[n][index_of("Baseline")]});
  DataTable table = step_table(rows);
  table.name = "results";
  table.title = "Traffic, time and energy of a training step";
  table.notes = {"Bytes, times and energies are of the chip and one step."};
  return table;
}

DataTable headline_table(const PaperModel& model) {
  DataTable table{"headline",
                  "What MBS2 gains over Baseline",
                  {"Means are over the deep networks. Performance gained: Baseline's time / MBS2's time - 1.",
                   fmt::format("Reported: abstract of Lym et al., MLSys 2019, WaveCore with MBS against "
                               "conventional training. What it averages over, and on which memory, we do not "
                               "know.")},
                  with_gains({{"network", "network"}}),
                  {}};
  std::vector<Gains> all;
  const auto add = [&](const std::string& name, const Gains& g) {
    table.rows.push_back({name, g.traffic, g.performance, g.time, g.energy});
  };
  for (size_t n = 0; n < model.networks.size(); ++n) {
    all.push_back(gains(model.steps[n][index_of("Baseline")].cost, model.steps[n][index_of("MBS2")].cost));
    add(model.networks[n].name(), all.back());
  }
  all.resize(deep_count());
  add("mean of the deep networks", mean(all));
  table.rows.push_back({kReported, kReportedTraffic, kReportedPerformance, Cell(), kReportedEnergy});
  return table;
}

DataTable rules_table(const PaperModel& model) {
  DataTable table{
      "rules",
      "The same means under every overlap rule, and with the paper's memories",
      {"layer: array, vector units and DRAM run side by side within a layer. step: within the step, "
       "the best that any order could do. none: one after the other."},
      with_gains({{"overlap", "overlap"}, {"memory", "memory"}}),
      {}};
  for (const Overlap overlap : all_values<Overlap>()) {
    for (const char* name : {"hbm2", "hbm2x2", "gddr5", "lpddr4"}) {
      const Gains g = mean_gains(model, with_memory(model.scenario.machine, name), overlap);
      table.rows.push_back({word_of(overlap), name, g.traffic, g.performance, g.time, g.energy});
    }
  }
  table.rows.push_back({kReported, Cell(), kReportedTraffic, kReportedPerformance, Cell(), kReportedEnergy});
  return table;
}

DataTable assumptions_table(const PaperModel& model) {
  DataTable table{"assumptions",
                  "The same means with other values of constants that we do not know",
                  {"Vector: elements per cycle of a core. 128 is one for every column of the array."},
                  with_gains({{"assumption", "assumption"}}),
                  {}};
  const auto add = [&](const std::string& name, const auto& change) {
    Machine machine = model.scenario.machine;
    change(machine);
    const Gains g = mean_gains(model, machine, model.scenario.overlap);
    table.rows.push_back({name, g.traffic, g.performance, g.time, g.energy});
  };
  add("as assumed", [](Machine&) {});
  for (const int width : {64, 128, 256, 512})
    add(fmt::format("vector units of {}", width), [&](Machine& m) { m.vector_elems_per_cycle = width; });
  for (const int watts : {0, 5, 20})
    add(fmt::format("static power {} W", watts), [&](Machine& m) { m.static_w = watts; });
  add("a MAC costs 1.1 pJ", [](Machine& m) { m.mac_pj = 1.1; });
  add("DRAM at 80 % of its peak", [](Machine& m) { m.memory.efficiency = 0.8; });
  table.rows.push_back({kReported, kReportedTraffic, kReportedPerformance, Cell(), kReportedEnergy});
  return table;
}

DataTable utilization_table(const PaperModel& model) {
  DataTable table{
      "utilization",
      "Utilization of the array",
      {"Useful multiply-accumulates per unit and cycle in which the array works, all matrix products "
       "of a step; waiting for DRAM is not counted."},
      {{"network", "network"}},
      {}};
  for (const Configuration& configuration : paper_configurations())
    table.columns.push_back({configuration.name, configuration.name, Unit::share});
  for (size_t n = 0; n < model.networks.size(); ++n) {
    std::vector<Cell> row = {model.networks[n].name()};
    for (size_t c = 0; c < paper_configurations().size(); ++c)
      row.push_back(model.steps[n][c].cost.utilization);
    table.rows.push_back(std::move(row));
  }
  return table;
}

DataTable memory_table(const PaperModel& model) {
  const std::vector<std::string> configurations = {"Baseline", "ArchOpt", "MBS2"};
  DataTable table{
      "memories",
      "Memories: means over the deep networks",
      {"Time and energy are relative to Baseline with hbm2. The first four memories are those the "
       "paper names (our recollection, unverified), the others are ours."},
      {{"memory", "memory"}, {"gib_per_s", "GiB/s", Unit::ratio}, {"pj_per_bit", "pJ/bit", Unit::ratio}},
      {}};
  for (const std::string& c : configurations)
    table.columns.push_back({c + "_time", c + " time", Unit::ratio});
  for (const std::string& c : configurations)
    table.columns.push_back({c + "_energy", c + " energy", Unit::ratio});
  for (const std::string& name : memory_names()) {
    const Machine machine = with_memory(model.scenario.machine, name);
    std::vector<Cell> times, energies;
    for (const std::string& c : configurations) {
      const Relative relative = mean_to_baseline(model, index_of(c), machine);
      times.push_back(relative.seconds);
      energies.push_back(relative.joules);
    }
    std::vector<Cell> row = {name, machine.memory.gib_per_s, machine.memory.pj_per_bit};
    row.insert(row.end(), times.begin(), times.end());
    row.insert(row.end(), energies.begin(), energies.end());
    table.rows.push_back(std::move(row));
  }
  return table;
}

DataTable ours_table(const PaperModel& model) {
  DataTable table{"ours",
                  "MBS-R, which is ours: MBS2 that makes cheap values again instead of storing them",
                  {"Grouped optimally. Saved and gained: against MBS2."},
                  with_gains({{"network", "network"},
                              {"mbs2_bytes", "DRAM of MBS2", Unit::traffic},
                              {"mbs_r_bytes", "DRAM of MBS-R", Unit::traffic}}),
                  {}};
  for (size_t n = 0; n < model.networks.size(); ++n) {
    const StepCost& mbs2 = model.steps[n][index_of("MBS2")].cost;
    const StepCost& ours = model.steps[n][index_of("MBS-R")].cost;
    const Gains g = gains(mbs2, ours);
    table.rows.push_back({model.networks[n].name(), mbs2.traffic.total_bytes(), ours.traffic.total_bytes(),
                          g.traffic, g.performance, g.time, g.energy});
  }
  return table;
}

}  // namespace mbs
