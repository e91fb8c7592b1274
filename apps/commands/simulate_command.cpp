// `mbs simulate`: DRAM traffic, time and energy of a training step on a modelled machine.
#include <fmt/format.h>

#include <algorithm>
#include <list>
#include <nlohmann/json.hpp>

#include "apps/commands/command.h"
#include "apps/model/modelled_step.h"
#include "apps/model/step_table.h"
#include "apps/report/number_text.h"
#include "apps/training/experiment.h"
#include "engine/check.h"

namespace mbs {
namespace {

/// `mbs simulate`.
struct SimulateOptions {
  std::vector<std::string> networks, configurations = {"all"};
  std::vector<int> batch_sizes;                ///< per core; empty: the default of each network
  std::vector<std::string> buffers, memories;  ///< empty: the machine's
  std::string machine = "wavecore", accounting = "paper", grouping = "greedy", overlap = "layer";
  std::string recompute = "cheap";
  int chip_cores = 0;  ///< 0: the machine's
  int chips = 1;
  bool per_layer = false, roofline = false, print_machine = false;
  bool json = false, csv = false;
};

/// What was asked for, every name resolved.
struct Request {
  std::vector<std::string> networks;
  std::vector<Configuration> configurations;
  std::vector<int> batches;  ///< empty: the default of each network
  std::vector<int64_t> buffers;
  std::vector<Memory> memories;
  Scenario scenario;
};

/// The networks stay where they are: rows refer to them, and to the steps.
struct Results {
  std::list<Network> networks;
  std::list<SimulatedStep> steps;
  struct Row {
    const Network* network;
    const SimulatedStep *step, *baseline;
  };
  std::vector<Row> rows;
};

Request resolve(const SimulateOptions& options) {
  Request request;
  for (const std::string& name : options.networks) {
    const std::vector<std::string> names = name == "all" ? paper_networks() : std::vector<std::string>{name};
    request.networks.insert(request.networks.end(), names.begin(), names.end());
  }
  request.configurations = parse_configurations(options.configurations);
  for (const int batch : options.batch_sizes)
    if (batch < 1 || batch > kMaxBatch)
      fail_usage("--batch-size is {}; it must be between 1 and {}", batch, kMaxBatch);
  request.batches = options.batch_sizes;
  Scenario& scenario = request.scenario;
  scenario.machine = load_machine(options.machine);
  if (options.chip_cores > 0) scenario.machine.chip_cores = options.chip_cores;
  scenario.rules = traffic_rules(options.accounting);
  scenario.grouping = parse_word<Grouping>(options.grouping);
  scenario.recompute = parse_recompute(options.recompute);
  scenario.overlap = parse_word<Overlap>(options.overlap);
  for (const std::string& buffer : options.buffers) request.buffers.push_back(parse_bytes(buffer));
  if (request.buffers.empty()) request.buffers.push_back(scenario.machine.global_buffer_bytes);
  for (const std::string& memory : options.memories) request.memories.push_back(memory_preset(memory));
  if (request.memories.empty()) request.memories.push_back(scenario.machine.memory);
  return request;
}

// One network, batch and buffer: every configuration with every memory.
void simulate_point(const Request& request, const Network& network, const Scenario& scenario,
                    Results& results) {
  const SimulatedStep baseline = simulate(network, parse_configuration("Baseline"), scenario);
  std::vector<SimulatedStep> steps;
  for (const Configuration& configuration : request.configurations)
    steps.push_back(configuration.name == baseline.configuration.name
                        ? baseline
                        : simulate(network, configuration, scenario));
  for (const Memory& memory : request.memories) {
    results.steps.push_back(with_memory(baseline, memory));
    const SimulatedStep* base = &results.steps.back();
    for (const SimulatedStep& step : steps) {
      results.steps.push_back(with_memory(step, memory));
      results.rows.push_back({&network, &results.steps.back(), base});
    }
  }
}

Results simulate_all(const Request& request) {
  Results results;
  for (const std::string& name : request.networks) {
    results.networks.push_back(published_network(name, request.scenario.rules));
    const std::vector<int> batches =
        request.batches.empty() ? std::vector<int>{default_batch(name)} : request.batches;
    for (const int batch : batches) {
      for (const int64_t buffer : request.buffers) {
        Scenario scenario = request.scenario;
        scenario.batch_per_core = batch;
        scenario.machine.global_buffer_bytes = buffer;
        validate(scenario.machine);
        simulate_point(request, results.networks.back(), scenario, results);
      }
    }
  }
  return results;
}

std::vector<DataTable> detail_tables(const SimulateOptions& options, const Results& results) {
  std::vector<DataTable> tables;
  for (const Results::Row& row : results.rows) {
    if (options.per_layer) tables.push_back(layer_table(*row.network, *row.step));
    if (options.roofline) tables.push_back(roofline_table(*row.network, *row.step));
  }
  return tables;
}

void print_json(const SimulateOptions& options, const Results& results) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Results::Row& row : results.rows) {
    nlohmann::ordered_json object = step_to_json(*row.network, *row.step, row.baseline);
    if (options.chips > 1)
      object["gradient_exchange_bytes"] =
          gradient_exchange_bytes(*row.network, row.step->scenario.rules, options.chips);
    if (options.per_layer) object["layers"] = to_json(layer_table(*row.network, *row.step))["rows"];
    if (options.roofline) object["roofline"] = to_json(roofline_table(*row.network, *row.step))["rows"];
    rows.push_back(std::move(object));
  }
  fmt::print("{}\n", rows.dump(2));
}

// The columns by which the rows differ.
std::vector<std::string> labels(const Request& request) {
  std::vector<std::string> keys;
  if (request.networks.size() > 1) keys.push_back("network");
  if (request.batches.size() > 1) keys.push_back("batch_per_core");
  if (request.buffers.size() > 1) keys.push_back("buffer_bytes");
  if (request.memories.size() > 1) keys.push_back("memory");
  keys.push_back("configuration");
  return keys;
}

std::string batch_text(const Request& request) {
  if (!request.batches.empty()) return joined(request.batches, ", ");
  std::vector<std::string> texts;
  for (const std::string& name : request.networks) {
    const std::string text = std::to_string(default_batch(name));
    if (std::find(texts.begin(), texts.end(), text) == texts.end()) texts.push_back(text);
  }
  return joined(texts, " (AlexNet: ") + (texts.size() > 1 ? ")" : "");
}

void print_heading(const SimulateOptions& options, const Request& request, const Results& results) {
  const Scenario& scenario = results.rows.front().step->scenario;
  const Machine& machine = scenario.machine;
  std::vector<std::string> buffers, memories;
  for (const int64_t buffer : request.buffers) buffers.push_back(binary_bytes(buffer));
  for (const Memory& memory : request.memories)
    memories.push_back(fmt::format("{} ({} GiB/s)", memory.name, memory.gib_per_s));
  fmt::print("{}: a training step of a chip of {} cores of machine {}\n", joined(request.networks, ", "),
             machine.chip_cores, machine.name);
  fmt::print("{} samples a core, buffer {} a core, memory {}\n", batch_text(request), joined(buffers, ", "),
             joined(memories, ", "));
  fmt::print(
      "{} counting, {} grouping, overlap {}; bytes, times and energies of the chip, array cycles of a core\n",
      scenario.rules.name, options.grouping, options.overlap);
}

void print_spilled(const Results& results) {
  for (const auto& [network, step, baseline] : results.rows) {
    if (step->plan.spilled.empty()) continue;
    fmt::print("\n{} {}, buffer {}: these blocks do not fit with one sample and run layer by layer: {}\n",
               network->name(), step->configuration.name,
               binary_bytes(step->scenario.machine.global_buffer_bytes),
               joined(spilled_names(*network, step->plan), ", "));
  }
}

// What a layer is made of stands in JSON and CSV only: it would fill the screen.
DataTable for_reading(const DataTable& table) {
  if (table.name != "layers") return table;
  return select(table, table.title,
                {"layer", "direction", "macs", "array_cycles", "utilization", "dram_bytes", "array_seconds",
                 "vector_seconds", "dram_seconds", "bound"});
}

void print_text(const SimulateOptions& options, const Request& request, const Results& results,
                const DataTable& steps) {
  print_heading(options, request, results);
  for (const DataTable& table : text_tables(steps, labels(request))) fmt::print("\n{}", to_text(table));
  if (options.chips > 1) {
    fmt::print("\nWeight gradients that each of {} chips sends per step (ring, {} bits):\n", options.chips,
               request.scenario.rules.partial_sum_bits);
    for (const Network& network : results.networks)
      fmt::print("  {}  {}\n", network.name(),
                 decimal_bytes(gradient_exchange_bytes(network, request.scenario.rules, options.chips)));
  }
  fmt::print("\nThe optimizer is in none of these figures: an update moves another");
  for (const Network& network : results.networks)
    fmt::print("{} {} ({})", &network == &results.networks.front() ? "" : ",",
               decimal_bytes(optimizer_bytes(network)), network.name());
  fmt::print(", the same in every configuration.\n");
  print_spilled(results);
  for (const DataTable& table : detail_tables(options, results))
    fmt::print("\n{}", to_text(for_reading(table)));
}

int run_simulate(const SimulateOptions& options) {
  if (options.print_machine) {
    fmt::print("{}\n", machine_text(options.machine));
    return 0;
  }
  const Request request = resolve(options);
  const Results results = simulate_all(request);
  if (options.json) {
    print_json(options, results);
    return 0;
  }
  std::vector<StepRow> rows;
  for (const Results::Row& row : results.rows) rows.push_back({row.network->name(), row.step, row.baseline});
  const DataTable steps = step_table(rows);
  if (!options.csv) {
    print_text(options, request, results, steps);
    return 0;
  }
  const std::vector<DataTable> details = detail_tables(options, results);
  if (details.empty()) fmt::print("{}", to_csv(steps));
  for (const DataTable& table : details) fmt::print("{}", to_csv(table));
  return 0;
}

class Simulate final : public Command {
  SimulateOptions o_;

  void declare(Parser& parser) override {
    parser(
        {"network,--arch,-a,--model", "network, or several separated by commas; all: the six of the paper"},
        o_.networks);
    parser({"--configuration,--configurations",
            "Baseline, ArchOpt, IL, MBS-FS, MBS1, MBS2, MBS-R, several separated by commas, or all"},
           o_.configurations);
    parser({"--batch-size,-b", "samples of one core, a list; default 32 (AlexNet: 64)"}, o_.batch_sizes);
    parser({"--buffer", "on-chip buffer of one core, a list: 5MiB,10MiB; default: the machine's"},
           o_.buffers);
    parser({"--memory",
            "hbm2, hbm2x2, gddr5, lpddr4, hbm2e, hbm3, gddr6, lpddr5, ddr5, a list; default: the machine's"},
           o_.memories);
    parser({"--chip-cores", "cores that share the memory; 0: the machine's", 0, 4096}, o_.chip_cores);
    parser({"--chips", "data-parallel chips: prints the weight gradients that they exchange", 1, 1e6},
           o_.chips);
    option_lists::model(o_, parser);
    option_lists::recompute(o_, parser);
    parser({"--per-layer", "every layer in each direction, and what limits it"}, o_.per_layer);
    parser({"--roofline", "the matrix products of every layer against the roofs of array and memory"},
           o_.roofline);
    parser({"--print-machine", "print the machine as JSON, every constant with unit and source, and stop"},
           o_.print_machine);
    parser({"--json", "print JSON"}, o_.json);
    parser({"--csv", "print CSV (of --per-layer or --roofline where one is given)"}, o_.csv);
  }

  void settle(const Parser&) override {
    if (o_.networks.empty() && !o_.print_machine)
      fail_usage(
          "mbs simulate needs the name of a network, such as resnet50, or all; `mbs simulate --help` lists "
          "them");
  }

  int run() override { return run_simulate(o_); }
};

}  // namespace

NETWORK_COMMAND(
    simulate, Simulate,
    "DRAM bytes, time and energy of a step on the WaveCore accelerator, modelled; no data needed",
    "DRAM traffic, time and energy of a training step on a modelled accelerator, for configurations of "
    "the order of the step and of the array. Lists make sweeps.",
    "  mbs simulate resnet50\n"
    "  mbs simulate resnet50 --configuration MBS2 --buffer 5MiB,10MiB,20MiB,40MiB --csv\n"
    "  mbs simulate all --memory hbm2,lpddr4 --configuration Baseline,MBS2\n"
    "  mbs simulate resnet50 --configuration MBS2 --per-layer\n")

}  // namespace mbs
