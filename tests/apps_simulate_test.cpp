// `mbs simulate` and `mbs paper`: arguments, rows, tables, and what must hold of their figures.
#include <nlohmann/json.hpp>

#include "apps/commands/command.h"
#include "apps/model/modelled_step.h"
#include "apps/model/paper_tables.h"
#include "apps/model/step_table.h"
#include "apps/report/table.h"
#include "tests/doctest.h"
#include "tests/helpers.h"
#include "tests/mbs_networks.h"
#include "tests/program.h"

namespace mbs {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

Scenario scenario_with(int64_t buffer_bytes, Grouping grouping = Grouping::greedy,
                       const std::string& accounting = "paper") {
  Scenario scenario;
  scenario.machine = load_machine("wavecore");
  scenario.machine.global_buffer_bytes = buffer_bytes;
  scenario.rules = traffic_rules(accounting);
  scenario.grouping = grouping;
  return scenario;
}

SimulatedStep simulated(const Network& network, const std::string& configuration, const Scenario& scenario) {
  return simulate(network, parse_configuration(configuration), scenario);
}

int64_t bytes_of(const Network& network, const std::string& configuration, const Scenario& scenario) {
  return plan_step(network, parse_configuration(configuration), scenario).predicted.total_bytes();
}

// Made once: all tests of the paper's figures read it.
const PaperModel& paper_model() {
  static const PaperModel model = make_paper_model(scenario_with(10 * kMiB));
  return model;
}

double dram(const SimulatedStep& step) { return static_cast<double>(step.cost.traffic.total_bytes()); }

const std::vector<std::string> kPaperNames = {"Baseline", "ArchOpt", "IL", "MBS-FS", "MBS1", "MBS2"};

}  // namespace

TEST_CASE("simulate: what is missing or unknown is named") {
  const auto parse = [](const std::vector<std::string>& arguments) { parse_command_line(arguments); };
  EXPECT(has(error_of([&] { parse({"simulate"}); }), {"usage", "name of a network"}));
  EXPECT(has(error_of([&] {
               parse({"simulate", "resnet50", "--overlap", "some"});
             }),
             {"usage", "--overlap is 'some'", "layer, step, none"}));
}

TEST_CASE("simulate: lists make sweeps") {
  if (program().empty()) return;
  const TempFolder folder;
  const Result sweep =
      run(folder, {"simulate", "small_cnn,alexnet", "--buffer", "1MiB,10MiB", "--memory=hbm2,ddr5", "-b",
                   "1,7", "--configuration", "IL,mbs2", "--json"});
  REQUIRE(sweep.code == 0);
  const auto rows = nlohmann::json::parse(sweep.out);
  REQUIRE(rows.size() == 2 * 2 * 2 * 2 * 2);
  EXPECT(rows.front()["network"] == "small_cnn");
  EXPECT(rows.front()["configuration"] == "IL");
  EXPECT(rows.back()["network"] == "alexnet");
  EXPECT(rows.back()["configuration"] == "MBS2");
  EXPECT(rows.back()["batch_per_core"] == 7);
  EXPECT(rows.back()["buffer_bytes"] == 10 * kMiB);
}

TEST_CASE("simulate: a name that does not exist is refused with those that do") {
  EXPECT(
      has(error_of([] { parse_configuration("MBS3"); }), {"usage", "'MBS3'", "Baseline", "MBS-FS", "MBS2"}));
  EXPECT(has(error_of([] { published_network("resnet51", traffic_rules("paper")); }),
             {"usage", "resnet51", "resnet50", "alexnet"}));
  EXPECT(has(error_of([] { load_machine("wavecor"); }), {"usage", "wavecor", "wavecore"}));
  EXPECT(has(error_of([] { memory_preset("hbm9"); }), {"usage", "hbm9", "hbm2", "lpddr4", "ddr5"}));
}

TEST_CASE("configurations: the paper's six in its order, then ours; capitals do not matter") {
  std::vector<std::string> names;
  for (const Configuration& configuration : paper_configurations()) names.push_back(configuration.name);
  EXPECT(names == kPaperNames);
  EXPECT(parse_configurations({"all"}).size() == all_configurations().size());
  EXPECT(parse_configuration("mbs-fs").name == "MBS-FS");
  EXPECT(!parse_configuration("baseline").double_buffering);
  EXPECT(parse_configuration("ArchOpt").order == "baseline");
  EXPECT(parse_configuration("ArchOpt").double_buffering);
}

TEST_CASE("a row in JSON has every figure, of the chip and one step") {
  const Network network = published_network("resnet8", traffic_rules("paper"));
  Scenario scenario = scenario_with(kMiB / 4);
  scenario.batch_per_core = 7;
  scenario.machine.chip_cores = 3;
  const SimulatedStep base = simulated(network, "Baseline", scenario);
  const SimulatedStep step = simulated(network, "MBS2", scenario);
  const nlohmann::ordered_json row = step_to_json(network, step, &base);
  for (const char* key :
       {"network", "configuration", "order", "accounting", "batch_per_core", "chip_cores", "buffer_bytes",
        "memory", "dram_read_bytes", "dram_write_bytes", "dram_bytes", "dram_bytes_by_class", "array_cycles",
        "utilization", "step_seconds", "energy_joules", "groups"}) {
    CAPTURE(key);
    EXPECT(row.contains(key));
  }
  EXPECT(row["order"] == "mbs2");
  EXPECT(row["batch_per_core"] == 7);
  const int64_t total = row["dram_bytes"];
  EXPECT(total == 3 * step.plan.predicted.total_bytes());
  EXPECT(row["dram_read_bytes"].get<int64_t>() + row["dram_write_bytes"].get<int64_t>() == total);
  int64_t classes = 0;
  for (const auto& bytes : row["dram_bytes_by_class"]) classes += bytes.get<int64_t>();
  EXPECT(classes == total);
  double joules = 0;
  for (const char* part : {"dram", "mac", "global_buffer", "local_buffer", "vector", "static"})
    joules += row["energy_joules"][part].get<double>();
  EXPECT(std::abs(joules - row["energy_joules"]["total"].get<double>()) <= 1e-12 * joules);
  EXPECT(row["groups"].size() == step.plan.groups.size());
  EXPECT(row["groups"][0].contains("sub_batch"));
  EXPECT(row["relative_to_baseline"]["dram_bytes"].get<double>() < 1);
  EXPECT(!step_to_json(network, base, nullptr).contains("relative_to_baseline"));
}

TEST_CASE("the tables of a step add up to it") {
  const Network network = published_network("resnet8", traffic_rules("paper"));
  const SimulatedStep step = simulated(network, "MBS1", scenario_with(kMiB));
  const auto rows = to_json(layer_table(network, step))["rows"];
  double bytes = 0, macs = 0, cycles = 0;
  for (const auto& row : rows) {
    bytes += row["dram_bytes"].get<double>();
    macs += row["macs"].get<double>();
    cycles += row["array_cycles"].get<double>();
    if (row["utilization"].is_number()) EXPECT(row["utilization"].get<double>() <= 1);
  }
  // A layer counts bits; the step rounds up to bytes for each of 12 classes and directions, and each core.
  EXPECT(bytes <= dram(step));
  EXPECT(bytes > dram(step) - 12 * step.scenario.machine.chip_cores);
  EXPECT(macs == static_cast<double>(step.cost.macs));
  EXPECT(cycles == static_cast<double>(step.cost.array_cycles));
  const auto roofline = to_json(roofline_table(network, step))["rows"];
  EXPECT(!roofline.empty());
  for (const auto& row : roofline) EXPECT(row["share_of_attainable"].get<double>() <= 1 + 1e-12);

  const DataTable steps = step_table({{network.name(), &step, &step}});
  for (const DataTable& table : text_tables(steps, {"network", "configuration"}))
    EXPECT(table.rows.size() == 1);
  const auto cells = to_json(steps)["rows"][0];
  EXPECT(cells["dram_bytes"] == step.cost.traffic.total_bytes());
  EXPECT(cells["dram_relative"] == 1.0);
}

TEST_CASE("a table says the same in text, CSV and JSON") {
  const DataTable table{
      "t",
      "A title",
      {"A note."},
      {{"name", "name"}, {"bytes", "moved", Unit::traffic}, {"share", "of all", Unit::share}},
      {{"a, b", int64_t{12345678}, 0.125}, {"c", Cell(), 1.0}}};
  EXPECT(to_text(table) ==
         "A title\n\nname    moved   of all\na, b  12.3 MB   12.5 %\nc           -  100.0 %\n\n  A note.\n");
  EXPECT(to_csv(table) == "name,bytes,share\n\"a, b\",12345678,0.125\nc,,1\n");
  EXPECT(to_json(table)["rows"].dump() ==
         R"([{"name":"a, b","bytes":12345678,"share":0.125},{"name":"c","bytes":null,"share":1.0}])");
  const DataTable chosen = select(table, "Less", {"share", "name"});
  EXPECT(chosen.notes == table.notes);
  EXPECT(to_csv(chosen) == "share,name\n0.125,\"a, b\"\n1,c\n");
  EXPECT(cell_text(int64_t{10 * kMiB}, Unit::buffer) == "10 MiB");
  EXPECT(cell_text(0.0123, Unit::seconds) == "12.30 ms");
  EXPECT(cell_text(1234567.0, Unit::count) == "1,234,567");
}

TEST_CASE("what no order avoids, worked out by hand") {
  Network network("worked", {2, 1, 3});
  const TensorId r =
      network.add("relu", "relu", {network.add("conv", "conv2d out=4 kernel=1", {network.input()})});
  network.add("loss", "softmax_loss", {network.add("fc", "linear out=5", {r})});
  Scenario scenario = scenario_with(50);
  scenario.batch_per_core = 3;
  const TrafficBounds bounds = traffic_bounds(network, parse_configuration("MBS2"), scenario);
  constexpr int kInput = 3 * 6 * 2;
  constexpr int kKept = 3 * (8 + 6) * 2 + 3 * 8 / 8;  // ReLU's output and mask, loss and probabilities
  constexpr int kWeights = (3 * 4 + 8 * 5 + 5) * 2;   // forward; and their gradients, of 16 bits
  constexpr int kBackwardWeights = (8 * 5 + 5) * 2;   // the first layer needs no data gradient
  // The optimizer: each parameter in 32 bits, read with gradient and momentum, written with momentum.
  EXPECT(optimizer_bytes(network) == 5 * 4 * (kWeights / 2));
  EXPECT(bounds.compulsory_bytes == 2 * kInput + 2 * kKept + kWeights + kBackwardWeights + kWeights);
  EXPECT(bounds.lower_bound_bytes ==
         kInput + 2 * (kKept - 50) + kWeights + (kBackwardWeights - 50) + kWeights);
}

TEST_CASE("no configuration moves less than what no order avoids") {
  const PaperModel& model = paper_model();
  for (size_t n = 0; n < model.networks.size(); ++n) {
    for (const SimulatedStep& step : model.steps[n]) {
      CAPTURE(model.networks[n].name());
      CAPTURE(step.configuration.name);
      EXPECT(step.plan.predicted.total_bytes() >= step.bounds.compulsory_bytes);
      EXPECT(step.bounds.compulsory_bytes >= step.bounds.lower_bound_bytes);
    }
    const SimulatedStep& mbs2 = model.steps[n][5];
    EXPECT(model.steps[n].back().bounds.compulsory_bytes <= mbs2.bounds.compulsory_bytes);
  }
}

TEST_CASE("the gradients of data-parallel chips") {
  const Network network = published_network("resnet8", traffic_rules("paper"));
  const TrafficRules rules = traffic_rules("conservative");  // 32 bits
  const int64_t bytes = network.parameter_count() * 4;
  EXPECT(gradient_exchange_bytes(network, rules, 1) == 0);
  EXPECT(gradient_exchange_bytes(network, rules, 2) == bytes);
  EXPECT(gradient_exchange_bytes(network, rules, 4) == bytes * 3 / 2);
}

TEST_CASE("the traffic that the paper's abstract reports, in the band that we accept") {
  const PaperModel& model = paper_model();
  for (size_t n = 0; n < deep_networks().size(); ++n) {
    CAPTURE(model.networks[n].name());
    const double saved = 1 - dram(model.steps[n][5]) / dram(model.steps[n][0]);
    EXPECT(saved >= 0.65);
    EXPECT(saved <= 0.78);
  }
  const Gains mean = mean_gains(model, model.scenario.machine, model.scenario.overlap);
  EXPECT(mean.traffic >= 0.70);
  EXPECT(mean.traffic <= 0.77);
}

TEST_CASE("traffic falls from configuration to configuration") {
  const PaperModel& model = paper_model();
  for (size_t n = 0; n < model.networks.size(); ++n) {
    CAPTURE(model.networks[n].name());
    const auto& [baseline, archopt, il, fs, mbs1, mbs2] =
        std::tie(model.steps[n][0], model.steps[n][1], model.steps[n][2], model.steps[n][3],
                 model.steps[n][4], model.steps[n][5]);
    EXPECT(dram(archopt) == dram(baseline));
    EXPECT(dram(il) < dram(baseline));
    EXPECT(dram(mbs2) <= dram(mbs1));
    EXPECT(dram(mbs1) < dram(il));
    if (model.networks[n].name() == "alexnet") {
      EXPECT(dram(fs) > dram(baseline));
      EXPECT(dram(mbs1) == dram(mbs2));  // it has no branches
    } else {
      EXPECT(dram(fs) < dram(il));
      EXPECT(dram(mbs1) < dram(fs));
      EXPECT(bytes_of(model.networks[n], "MBS2", scenario_with(5 * kMiB)) <
             bytes_of(model.networks[n], "IL", scenario_with(40 * kMiB)));
    }
    EXPECT(archopt.cost.seconds < baseline.cost.seconds);
    EXPECT(mbs2.cost.seconds < il.cost.seconds);
    EXPECT(mbs2.cost.energy.total() < il.cost.energy.total());
  }
}

TEST_CASE("greedy grouping is near the best, and the best gets no worse with a larger buffer") {
  for (const Network& network : paper_model().networks) {
    CAPTURE(network.name());
    const double allowed = network.name() == "alexnet" ? 1.04 : 1.02;
    int64_t before = INT64_MAX;
    for (const int64_t mib : {1, 2, 5, 10, 20, 40}) {
      CAPTURE(mib);
      Scenario optimal = scenario_with(mib * kMiB, Grouping::optimal);
      optimal.batch_per_core = default_batch(network.name());
      std::vector<int64_t> bytes;
      for (const char* configuration : {"MBS2", "MBS1", "IL", "Baseline"})
        bytes.push_back(bytes_of(network, configuration, optimal));
      EXPECT(std::is_sorted(bytes.begin(), bytes.end()));
      EXPECT(bytes[0] <= before);
      before = bytes[0];
      if (mib != 10) continue;
      Scenario greedy = optimal;
      greedy.grouping = Grouping::greedy;
      EXPECT(static_cast<double>(bytes_of(network, "MBS2", greedy)) <=
             allowed * static_cast<double>(bytes[0]));
    }
  }
}

TEST_CASE("every configuration is counted as predicted under every accounting, also where blocks spill") {
  for (const std::string& accounting : traffic_rules_names()) {
    for (const char* name : {"resnet50", "inception_v3"}) {
      const Network network = published_network(name, traffic_rules(accounting));
      for (const int64_t mib : {1, 10}) {
        Scenario scenario = scenario_with(mib * kMiB, Grouping::greedy, accounting);
        scenario.batch_per_core = 7;
        for (const Configuration& configuration : all_configurations()) {
          CAPTURE(accounting);
          CAPTURE(network.name());
          CAPTURE(configuration.name);
          const Plan plan = plan_step(network, configuration, scenario);
          REQUIRE(tests::counted_traffic(network, plan.schedule, scenario.rules) == plan.predicted);
          const SimulatedStep step = simulate(network, configuration, scenario);
          EXPECT(step.work.traffic == plan.predicted);
          EXPECT(step.cost.utilization <= 1);
          EXPECT(step.cost.seconds > 0);
        }
      }
    }
  }
}

TEST_CASE("the tables of the paper") {
  const PaperModel& model = paper_model();
  const auto headline = to_json(headline_table(model))["rows"];
  REQUIRE(headline.size() == 6 + 2);  // networks, their mean, what is reported
  EXPECT(headline[7]["network"] == "reported by the abstract");
  EXPECT(headline[7]["traffic_saved"] == 0.75);
  EXPECT(headline[7]["performance_gained"] == 0.53);
  EXPECT(headline[7]["energy_saved"] == 0.26);
  EXPECT(to_json(rules_table(model))["rows"].size() == 3 * 4 + 1);
  EXPECT(assumptions_table(model).rows.size() == 11);
  EXPECT(ours_table(model).rows.size() == 6);
  EXPECT(results_table(model).rows.size() == 6 * 6);
  EXPECT(buffer_table(model).rows.size() == 6 * 4);
  EXPECT(memory_table(model).rows.size() == memory_names().size());
  EXPECT(utilization_table(model).rows.size() == 6);
  EXPECT(grouping_table(model).rows.size() == 6 * 2);
  EXPECT(exchange_table(model).rows.size() == 6);
  EXPECT(space_table(model).rows.size() == model.networks[0].blocks().size());
  const auto smallest = to_json(smallest_buffer_table(model))["rows"];
  for (const auto& row : smallest) {
    CAPTURE(row["network"].get<std::string>());
    EXPECT(row["smallest_buffer_bytes"].get<int64_t>() <= 40 * kMiB);
    EXPECT(row["dram_bytes"].get<double>() <= 1.05 * row["dram_bytes_40mib"].get<double>());
  }
  // The abstract's network in the paper's rules: chunks of a group cover the batch.
  const auto groups = to_json(groups_table(model))["rows"];
  for (const auto& row : groups) {
    const int sub_batch = row["sub_batch"], iterations = row["iterations"];
    EXPECT(iterations == (32 + sub_batch - 1) / sub_batch);
    EXPECT(row["chunks"].get<std::string>().size() == static_cast<size_t>(iterations));
  }
}

}  // namespace mbs
