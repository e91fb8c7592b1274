// `mbs paper`: every table and figure of the MBS paper, from our model.
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "apps/commands/command.h"
#include "apps/model/paper_tables.h"
#include "apps/report/number_text.h"
#include "apps/system/atomic_file.h"
#include "engine/check.h"

namespace mbs {
namespace {

/// `mbs paper`.
struct PaperOptions {
  std::string out;  ///< a folder; empty: print
  std::string machine = "wavecore", accounting = "paper", grouping = "greedy", overlap = "layer";
  bool json = false, csv = false;
};

Scenario scenario_of(const PaperOptions& options) {
  Scenario scenario;
  scenario.machine = load_machine(options.machine);
  scenario.rules = traffic_rules(options.accounting);
  scenario.grouping = parse_word<Grouping>(options.grouping);
  scenario.overlap = parse_word<Overlap>(options.overlap);
  return scenario;
}

std::vector<DataTable> all_tables(const PaperModel& model) {
  return {headline_table(model), rules_table(model),           assumptions_table(model),
          results_table(model),  utilization_table(model),     buffer_table(model),
          batch_table(model),    smallest_buffer_table(model), memory_table(model),
          grouping_table(model), groups_table(model),          space_table(model),
          ours_table(model),     exchange_table(model)};
}

std::string heading(const PaperOptions& options, const Scenario& scenario) {
  const Machine& machine = scenario.machine;
  return fmt::format(
      "Mini-batch serialization on the modelled accelerator {}: {} cores, buffer {} a core, memory {} ({} "
      "GiB/s)\n{} samples a core (AlexNet: {}), {} counting, {} grouping, overlap {}\nEvery figure is our "
      "model's (docs/paper.md), but for those marked reported.\n",
      machine.name, machine.chip_cores, binary_bytes(machine.global_buffer_bytes), machine.memory.name,
      machine.memory.gib_per_s, scenario.batch_per_core, default_batch("alexnet"), scenario.rules.name,
      options.grouping, options.overlap);
}

// The results table has a column for everything; a reader gets the main ones.
DataTable for_reading(const DataTable& table) {
  if (table.name != "results") return table;
  return select(
      table, table.title,
      {"network", "configuration", "groups", "dram_bytes", "dram_relative", "over_compulsory", "utilization",
       "step_seconds", "step_relative", "bound", "bound_share", "energy_joules", "energy_relative"});
}

std::string text_of(const std::string& head, const std::vector<DataTable>& tables) {
  std::string text = head;
  for (const DataTable& table : tables) text += "\n\n" + to_text(for_reading(table));
  return text;
}

std::string json_of(const PaperOptions& options, const PaperModel& model,
                    const std::vector<DataTable>& tables) {
  const Scenario& scenario = model.scenario;
  nlohmann::ordered_json json = {{"machine", scenario.machine.name},
                                 {"memory", scenario.machine.memory.name},
                                 {"chip_cores", scenario.machine.chip_cores},
                                 {"buffer_bytes", scenario.machine.global_buffer_bytes},
                                 {"accounting", scenario.rules.name},
                                 {"grouping", options.grouping},
                                 {"overlap", options.overlap},
                                 {"reported",
                                  {{"source", "abstract of Lym et al., MLSys 2019"},
                                   {"traffic_saved", kReportedTraffic},
                                   {"performance_gained", kReportedPerformance},
                                   {"energy_saved", kReportedEnergy}}}};
  nlohmann::ordered_json steps = nlohmann::ordered_json::array();
  for (size_t n = 0; n < model.networks.size(); ++n)
    for (const SimulatedStep& step : model.steps[n])
      steps.push_back(step_to_json(model.networks[n], step, &model.steps[n].front()));
  json["steps"] = std::move(steps);
  for (const DataTable& table : tables)
    if (table.name != "results") json["tables"][table.name] = to_json(table);
  return json.dump(2) + "\n";
}

void write_folder(const std::string& folder, const std::string& text, const std::string& json,
                  const std::vector<DataTable>& tables) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail("the folder {} cannot be made: {}", folder, error.message());
  replace_file(folder + "/paper.txt", text);
  replace_file(folder + "/paper.json", json);
  for (const DataTable& table : tables) replace_file(folder + "/" + table.name + ".csv", to_csv(table));
  fmt::print("{}: paper.txt, paper.json, {} tables as CSV\n", folder, tables.size());
}

int run_paper(const PaperOptions& options) {
  const PaperModel model = make_paper_model(scenario_of(options));
  const std::vector<DataTable> tables = all_tables(model);
  const std::string head = heading(options, model.scenario);
  if (!options.out.empty()) {
    write_folder(options.out, text_of(head, tables), json_of(options, model, tables), tables);
  } else if (options.json) {
    fmt::print("{}", json_of(options, model, tables));
  } else if (options.csv) {
    for (const DataTable& table : tables) fmt::print("# {}\n{}\n", table.name, to_csv(table));
  } else {
    fmt::print("{}", text_of(head, tables));
  }
  return 0;
}

class Paper final : public Command {
  PaperOptions o_;

  void declare(Parser& parser) override {
    parser({"--out", "write paper.txt, paper.json and one CSV file per table into this folder"}, o_.out);
    option_lists::model(o_, parser);
    parser({"--json", "print JSON"}, o_.json);
    parser({"--csv", "print CSV, one table after the other"}, o_.csv);
  }

  int run() override { return run_paper(o_); }
};

}  // namespace

COMMAND(
    paper, Paper, "every table and figure of the MBS paper, from the model",
    "Traffic, time and energy of the six networks and six configurations of the MBS paper, its sweeps over "
    "buffers and memories, utilization, groups and space, all from the model; beside them what its "
    "abstract reports.",
    "  mbs paper\n  mbs paper --out paper\n  mbs paper --accounting conservative --json\n")

}  // namespace mbs
