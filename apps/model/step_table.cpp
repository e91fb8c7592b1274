#include "apps/model/step_table.h"

#include <algorithm>

namespace mbs {
namespace {

std::vector<Column> columns() {
  std::vector<Column> list = {{"network", "network"},
                              {"configuration", "configuration"},
                              {"order", "order"},
                              {"accounting", "accounting"},
                              {"batch_per_core", "batch", Unit::count},
                              {"chip_cores", "cores", Unit::count},
                              {"buffer_bytes", "buffer", Unit::buffer},
                              {"memory", "memory"},
                              {"groups", "groups", Unit::count},
                              {"iterations", "iterations", Unit::count},
                              {"spilled_blocks", "spilled", Unit::count},
                              {"dram_bytes", "DRAM", Unit::traffic},
                              {"dram_relative", "to Baseline", Unit::share},
                              {"compulsory_bytes", "compulsory", Unit::traffic},
                              {"over_compulsory", "x compulsory", Unit::ratio},
                              {"lower_bound_bytes", "lower bound", Unit::traffic},
                              {"dram_read_bytes", "read", Unit::traffic},
                              {"dram_write_bytes", "written", Unit::traffic}};
  constexpr std::array<const char*, kTrafficClasses> kTitles = {"features", "stored",       "gradients",
                                                                "weights",  "weight grad.", "masks"};
  for (size_t c = 0; c < kTrafficClasses; ++c)
    list.push_back({std::string(kTrafficClassNames[c]) + "_bytes", kTitles[c], Unit::traffic});
  const std::vector<Column> rest = {{"macs", "MACs", Unit::count},
                                    {"array_cycles", "array cycles", Unit::count},
                                    {"utilization", "utilization", Unit::share},
                                    {"array_seconds", "array alone", Unit::seconds},
                                    {"vector_seconds", "vector alone", Unit::seconds},
                                    {"dram_seconds", "DRAM alone", Unit::seconds},
                                    {"step_seconds", "step", Unit::seconds},
                                    {"step_relative", "to Baseline", Unit::share},
                                    {"bound", "bound by"},
                                    {"bound_share", "for", Unit::share},
                                    {"dram_joules", "DRAM", Unit::joules},
                                    {"mac_joules", "MACs", Unit::joules},
                                    {"global_buffer_joules", "global buffer", Unit::joules},
                                    {"local_buffer_joules", "local buffers", Unit::joules},
                                    {"vector_joules", "vector", Unit::joules},
                                    {"static_joules", "static", Unit::joules},
                                    {"energy_joules", "energy", Unit::joules},
                                    {"energy_relative", "to Baseline", Unit::share}};
  list.insert(list.end(), rest.begin(), rest.end());
  return list;
}

double ratio(int64_t a, int64_t b) { return static_cast<double>(a) / static_cast<double>(b); }

void add_traffic(const StepRow& row, std::vector<Cell>& cells) {
  const Traffic& traffic = row.step->cost.traffic;
  const int64_t cores = row.step->scenario.machine.chip_cores;
  const int64_t compulsory = row.step->bounds.compulsory_bytes * cores;
  int64_t read = 0, written = 0;
  for (size_t c = 0; c < kTrafficClasses; ++c) {
    read += traffic.read_bytes[c];
    written += traffic.write_bytes[c];
  }
  cells.insert(cells.end(),
               {traffic.total_bytes(), ratio(traffic.total_bytes(), row.baseline->cost.traffic.total_bytes()),
                compulsory, ratio(traffic.total_bytes(), compulsory),
                row.step->bounds.lower_bound_bytes * cores, read, written});
  for (size_t c = 0; c < kTrafficClasses; ++c)
    cells.push_back(traffic.class_bytes(static_cast<TrafficClass>(c)));
}

void add_time(const StepRow& row, std::vector<Cell>& cells) {
  const StepCost& cost = row.step->cost;
  cells.insert(cells.end(),
               {cost.macs, cost.array_cycles, cost.utilization, cost.alone.array, cost.alone.vector,
                cost.alone.dram, cost.seconds, cost.seconds / row.baseline->cost.seconds,
                word_of(cost.bound()), cost.paced_by.longest() / cost.seconds});
}

void add_energy(const StepRow& row, std::vector<Cell>& cells) {
  const Energy& energy = row.step->cost.energy;
  cells.insert(cells.end(),
               {energy.dram, energy.mac, energy.global_buffer, energy.local_buffer, energy.vector,
                energy.idle, energy.total(), energy.total() / row.baseline->cost.energy.total()});
}

std::vector<Cell> cells_of(const StepRow& row) {
  const SimulatedStep& step = *row.step;
  const Machine& machine = step.scenario.machine;
  int64_t iterations = 0;
  for (const Group& group : step.plan.groups) iterations = std::max<int64_t>(iterations, group.iterations);
  std::vector<Cell> cells = {row.network,
                             step.configuration.name,
                             word_of(step.plan.order),
                             step.scenario.rules.name,
                             int64_t{step.scenario.batch_per_core},
                             int64_t{machine.chip_cores},
                             machine.global_buffer_bytes,
                             machine.memory.name,
                             static_cast<int64_t>(step.plan.groups.size()),
                             iterations,
                             static_cast<int64_t>(step.plan.spilled.size())};
  add_traffic(row, cells);
  add_time(row, cells);
  add_energy(row, cells);
  return cells;
}

}  // namespace

DataTable step_table(const std::vector<StepRow>& rows) {
  DataTable table{"steps", "Training steps", {}, columns(), {}};
  for (const StepRow& row : rows) table.rows.push_back(cells_of(row));
  return table;
}

std::vector<DataTable> text_tables(const DataTable& steps, const std::vector<std::string>& labels) {
  const auto with_labels = [&](const std::string& title, const std::vector<std::string>& keys) {
    std::vector<std::string> all = labels;
    all.insert(all.end(), keys.begin(), keys.end());
    return select(steps, title, all);
  };
  return {with_labels("DRAM traffic",
                      {"dram_bytes", "dram_relative", "over_compulsory", "lower_bound_bytes",
                       "dram_read_bytes", "dram_write_bytes", "features_bytes", "stored_features_bytes",
                       "feature_gradients_bytes", "weights_bytes", "weight_gradients_bytes", "masks_bytes"}),
          with_labels("Time", {"array_cycles", "utilization", "array_seconds", "vector_seconds",
                               "dram_seconds", "step_seconds", "step_relative", "bound", "bound_share"}),
          with_labels("Energy", {"dram_joules", "mac_joules", "global_buffer_joules", "local_buffer_joules",
                                 "vector_joules", "static_joules", "energy_joules", "energy_relative"})};
}

}  // namespace mbs
