#include "apps/model/modelled_step.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/training/experiment.h"
#include "engine/check.h"
#include "engine/program.h"
#include "layers/fusion.h"
#include "layers/zoo/zoo.h"
#include "mbs/plan_json.h"

namespace mbs {
namespace {

const char* phase_name(Phase phase) { return phase == Phase::forward ? "forward" : "backward"; }

nlohmann::ordered_json seconds_to_json(const PartSeconds& seconds) {
  return {{"array", seconds.array}, {"vector", seconds.vector}, {"dram", seconds.dram}};
}

int64_t sum(const std::array<int64_t, kTrafficClasses>& bytes) {
  int64_t total = 0;
  for (const int64_t b : bytes) total += b;
  return total;
}

}  // namespace

nlohmann::ordered_json energy_to_json(const Energy& energy) {
  return {{"dram", energy.dram},
          {"mac", energy.mac},
          {"global_buffer", energy.global_buffer},
          {"local_buffer", energy.local_buffer},
          {"vector", energy.vector},
          {"static", energy.idle},
          {"total", energy.total()}};
}

std::vector<std::string> deep_networks() {
  return {"resnet50", "resnet101", "resnet152", "inception_v3", "inception_v4"};
}

std::vector<std::string> paper_networks() {
  std::vector<std::string> names = deep_networks();
  names.push_back("alexnet");
  return names;
}

int default_batch(const std::string& network) { return network == "alexnet" ? 64 : 32; }

Network published_network(const std::string& name, const TrafficRules& rules) {
  NetworkOptions options;
  options.arch = name;
  for (const ArchInfo& info : architectures())
    if (info.name == name) options.input = info.input;
  options.classes = options.input.h > 64 ? 1000 : 10;
  Network network = make_network(options);
  return as_counted(network, rules);
}

Plan plan_step(const Network& network, const Configuration& configuration, const Scenario& scenario) {
  PlanOptions options;
  options.order = parse_word<Order>(configuration.order);
  options.batch = scenario.batch_per_core;
  options.buffer_bytes = scenario.machine.global_buffer_bytes;
  options.rules = scenario.rules;
  options.grouping = scenario.grouping;
  options.recompute = scenario.recompute;
  options.spill = true;
  return make_plan(network, options);
}

// With a buffer that holds the whole step, every feature and gradient stays on chip: what moves is the input,
// what is kept for backward, and parameters.
TrafficBounds traffic_bounds(const Network& network, const Configuration& configuration,
                             const Scenario& scenario) {
  Scenario unlimited = scenario;
  unlimited.machine.global_buffer_bytes = int64_t{1} << 50;
  const Configuration& serial = parse_configuration(configuration.order == "mbs-r" ? "MBS-R" : "MBS2");
  const Traffic traffic = plan_step(network, serial, unlimited).predicted;
  const auto read = [&](TrafficClass c) { return traffic.read_bytes[static_cast<size_t>(c)]; };
  const auto written = [&](TrafficClass c) { return traffic.write_bytes[static_cast<size_t>(c)]; };

  const int64_t input = read(TrafficClass::features);
  const int64_t kept = written(TrafficClass::stored_features) + written(TrafficClass::masks);
  const int64_t weights = read(TrafficClass::weights);
  const int64_t forward_weights = (network.parameter_count() * scenario.rules.feature_bits + 7) / 8;
  const int64_t gradients = written(TrafficClass::weight_gradients);
  const auto beyond_buffer = [&](int64_t bytes) {
    return std::max<int64_t>(0, bytes - scenario.machine.global_buffer_bytes);
  };
  return {2 * input + 2 * kept + weights + gradients, input + 2 * beyond_buffer(kept) + forward_weights +
                                                          beyond_buffer(weights - forward_weights) +
                                                          gradients};
}

SimulatedStep simulate(const Network& network, const Configuration& configuration, const Scenario& scenario) {
  SimulatedStep step{configuration,
                     scenario,
                     plan_step(network, configuration, scenario),
                     traffic_bounds(network, configuration, scenario),
                     {},
                     {}};
  Simulator simulator(scenario.machine, counting_rules(scenario.rules), configuration.double_buffering);
  folded_dry_run(network, step.plan.schedule, scenario.batch_per_core, simulator);
  step.work = simulator.work();
  CHECK(step.work.traffic == step.plan.predicted, "{} {}: {} bytes counted, {} predicted", network.name(),
        configuration.name, step.work.traffic.total_bytes(), step.plan.predicted.total_bytes());
  step.cost = step_cost(scenario.machine, step.work, scenario.overlap);
  return step;
}

SimulatedStep with_memory(SimulatedStep step, const Memory& memory) {
  step.scenario.machine.memory = memory;
  step.cost = step_cost(step.scenario.machine, step.work, step.scenario.overlap);
  return step;
}

SimulatedStep with_overlap(SimulatedStep step, Overlap overlap) {
  step.scenario.overlap = overlap;
  step.cost = step_cost(step.scenario.machine, step.work, overlap);
  return step;
}

int64_t gradient_exchange_bytes(const Network& network, const TrafficRules& rules, int chips) {
  const int64_t bits = network.parameter_count() * rules.partial_sum_bits;
  return 2 * (chips - 1) * bits / (8 * int64_t{chips});
}

int64_t optimizer_bytes(const Network& network) { return network.parameter_count() * 5 * 4; }

std::vector<std::string> spilled_names(const Network& network, const Plan& plan) {
  std::vector<std::string> names;
  for (const int block : plan.spilled) names.push_back(network.blocks()[static_cast<size_t>(block)].name);
  return names;
}

nlohmann::ordered_json step_to_json(const Network& network, const SimulatedStep& step,
                                    const SimulatedStep* baseline) {
  const auto& [configuration, scenario, plan, bounds, work, cost] = step;
  const Traffic& traffic = cost.traffic;
  nlohmann::ordered_json row;
  row["network"] = network.name();
  row["configuration"] = configuration.name;
  row["order"] = word_of(plan.order);
  row["accounting"] = scenario.rules.name;
  row["batch_per_core"] = scenario.batch_per_core;
  row["chip_cores"] = scenario.machine.chip_cores;
  row["buffer_bytes"] = scenario.machine.global_buffer_bytes;
  row["machine"] = scenario.machine.name;
  row["memory"] = scenario.machine.memory.name;
  row["grouping"] = scenario.grouping == Grouping::optimal ? "optimal" : "greedy";
  row["overlap"] = word_of(scenario.overlap);
  row["dram_read_bytes"] = sum(traffic.read_bytes);
  row["dram_write_bytes"] = sum(traffic.write_bytes);
  row["dram_bytes"] = traffic.total_bytes();
  row["dram_bytes_by_class"] = traffic_to_json(traffic);
  row["compulsory_bytes"] = bounds.compulsory_bytes * scenario.machine.chip_cores;
  row["lower_bound_bytes"] = bounds.lower_bound_bytes * scenario.machine.chip_cores;
  row["optimizer_bytes"] = optimizer_bytes(network);
  row["macs"] = cost.macs;
  row["array_cycles"] = cost.array_cycles;
  row["utilization"] = cost.utilization;
  row["step_seconds"] = cost.seconds;
  row["bound"] = word_of(cost.bound());
  row["seconds_alone"] = seconds_to_json(cost.alone);
  row["seconds_paced_by"] = seconds_to_json(cost.paced_by);
  row["energy_joules"] = energy_to_json(cost.energy);
  if (baseline != nullptr) {
    const StepCost& base = baseline->cost;
    row["relative_to_baseline"] = {{"dram_bytes", static_cast<double>(traffic.total_bytes()) /
                                                      static_cast<double>(base.traffic.total_bytes())},
                                   {"step_seconds", cost.seconds / base.seconds},
                                   {"energy_joules", cost.energy.total() / base.energy.total()}};
  }
  row["spilled_blocks"] = spilled_names(network, plan);
  row["groups"] = plan_to_json(network, plan)["groups"];
  return row;
}

DataTable layer_table(const Network& network, const SimulatedStep& step) {
  const Machine& machine = step.scenario.machine;
  DataTable table{
      "layers",
      fmt::format("{} {}: every layer in each direction", network.name(), step.configuration.name),
      {"Bytes and multiply-accumulates are of the chip; cycles and times are of a core, and all "
       "cores work side by side."},
      {{"layer", "layer"},
       {"direction", "direction"},
       {"spec", "spec"},
       {"macs", "MACs", Unit::count},
       {"array_cycles", "cycles", Unit::count},
       {"utilization", "utilization", Unit::share},
       {"dram_bytes", "DRAM", Unit::traffic},
       {"array_seconds", "array", Unit::seconds},
       {"vector_seconds", "vector", Unit::seconds},
       {"dram_seconds", "memory", Unit::seconds},
       {"bound", "bound by"}},
      {}};
  for (const LayerWork& layer : step.work.layers) {
    const PartSeconds seconds = part_seconds(machine, layer.work);
    const bool gemm = layer.work.array.cycles > 0;
    const bool idle = seconds.longest() <= 0;  // a concatenation, an add that only passes on
    table.rows.push_back({layer.name, phase_name(layer.phase), layer.spec,
                          layer.work.array.macs * machine.chip_cores, layer.work.array.cycles,
                          gemm ? Cell(layer.work.array.utilization()) : Cell(),
                          layer.work.dram_bytes() * machine.chip_cores, seconds.array, seconds.vector,
                          seconds.dram, idle ? Cell() : Cell(word_of(seconds.bound()))});
  }
  return table;
}

DataTable roofline_table(const Network& network, const SimulatedStep& step) {
  const Machine& machine = step.scenario.machine;
  const double peak = machine.cycles_per_s() * machine.array_rows * machine.array_cols * machine.chip_cores;
  const double bytes_per_s = machine.memory.bytes_per_s();
  DataTable table{
      "roofline",
      fmt::format("{} {}: matrix products against the roofs of the chip", network.name(),
                  step.configuration.name),
      {fmt::format("Roofs: {:.2f} TMAC/s of the arrays, {:.1f} GB/s of {}; they meet at {:.1f} MACs "
                   "per byte.",
                   peak / 1e12, bytes_per_s / 1e9, machine.memory.name, peak / bytes_per_s)},
      {{"layer", "layer"},
       {"direction", "direction"},
       {"macs_per_byte", "MACs/byte", Unit::ratio},
       {"attainable_tmac_per_s", "attainable TMAC/s", Unit::ratio},
       {"achieved_tmac_per_s", "achieved TMAC/s", Unit::ratio},
       {"share_of_attainable", "of attainable", Unit::share},
       {"roof", "roof"}},
      {}};
  for (const LayerWork& layer : step.work.layers) {
    const double macs = static_cast<double>(layer.work.array.macs) * machine.chip_cores;
    if (macs <= 0) continue;
    const double bytes = layer.work.dram_bytes() * machine.chip_cores;
    const double memory_roof = bytes > 0 ? macs / bytes * bytes_per_s : peak;
    const double attainable = std::min(peak, memory_roof);
    const double achieved = macs / part_seconds(machine, layer.work).longest();
    table.rows.push_back({layer.name, phase_name(layer.phase), bytes > 0 ? Cell(macs / bytes) : Cell(),
                          attainable / 1e12, achieved / 1e12, achieved / attainable,
                          memory_roof < peak ? "DRAM" : "array"});
  }
  return table;
}

}  // namespace mbs
