// `mbs compare`: prints a comparison of orders.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/commands/command.h"
#include "apps/report/number_text.h"
#include "apps/training/lockstep.h"
#include "mbs/plan_json.h"

namespace mbs {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const Comparison& comparison) {
  Json json{{"identical", comparison.identical()}, {"steps", comparison.steps}, {"runs", Json::array()}};
  if (!comparison.identical()) {
    json["first_different_step"] = comparison.first_different_step;
    json["different_order"] = comparison.different_order;
  }
  for (const OrderResult& run : comparison.runs) {
    Json entry{{"order", run.order},
               {"in_verdict", run.in_verdict},
               {"buffer_bytes", run.buffer_bytes},
               {"seconds_per_step", run.seconds_per_step},
               {"images_per_second", run.images_per_second},
               {"peak_rss_bytes", run.peak_rss_bytes},
               {"dram_bytes_per_step", run.dram.total_bytes()},
               {"dram_bytes_by_class", traffic_to_json(run.dram)},
               {"modelled_step_seconds", run.modelled_seconds},
               {"modelled_energy_joules", run.modelled_joules},
               {"losses", run.losses},
               {"weights_hash", run.weights_hash},
               {"epochs", Json::array()}};
    for (const EpochResult& epoch : run.epochs)
      entry["epochs"].push_back({{"train_loss", epoch.train_loss},
                                 {"train_acc", epoch.train_accuracy},
                                 {"val_loss", epoch.validation_loss},
                                 {"val_acc", epoch.validation_accuracy}});
    json["runs"].push_back(entry);
  }
  return json;
}

Table csv_table(const Comparison& comparison) {
  Table table{{"order", "seconds_per_step", "images_per_second", "peak_rss_bytes", "dram_bytes_per_step",
               "modelled_step_seconds", "modelled_energy_joules"},
              {}};
  for (const char* name : kTrafficClassNames) table.header.push_back(fmt::format("dram_bytes_{}", name));
  table.header.insert(table.header.end(), {"last_loss", "weights_hash"});
  for (const OrderResult& run : comparison.runs) {
    auto& row = table.rows.emplace_back();
    row = {run.order,
           fmt::format("{:.6f}", run.seconds_per_step),
           fmt::format("{:.2f}", run.images_per_second),
           std::to_string(run.peak_rss_bytes),
           std::to_string(run.dram.total_bytes()),
           fmt::format("{:.9f}", run.modelled_seconds),
           fmt::format("{:.9f}", run.modelled_joules)};
    for (size_t c = 0; c < kTrafficClasses; ++c)
      row.push_back(std::to_string(run.dram.class_bytes(static_cast<TrafficClass>(c))));
    row.insert(row.end(), {fmt::format("{:.6f}", run.losses.back()), run.weights_hash});
  }
  return table;
}

Table traffic_table(const Comparison& comparison) {
  Table table{{"DRAM bytes of a step, and the machine model"}, {}};
  for (const OrderResult& run : comparison.runs) table.header.push_back(run.order);
  const auto add = [&](const std::string& name, const auto& bytes_of) {
    auto& row = table.rows.emplace_back(std::vector<std::string>{name});
    for (const OrderResult& run : comparison.runs) row.push_back(decimal_bytes(bytes_of(run.dram)));
  };
  for (size_t c = 0; c < kTrafficClasses; ++c)
    add(kTrafficClassNames[c], [&](const Traffic& t) { return t.class_bytes(static_cast<TrafficClass>(c)); });
  add("all", [](const Traffic& t) { return t.total_bytes(); });
  auto& seconds = table.rows.emplace_back(std::vector<std::string>{"modelled step"});
  for (const OrderResult& run : comparison.runs)
    seconds.push_back(fmt::format("{:.3f} ms", run.modelled_seconds * 1e3));
  auto& joules = table.rows.emplace_back(std::vector<std::string>{"modelled energy"});
  for (const OrderResult& run : comparison.runs)
    joules.push_back(fmt::format("{:.4f} J", run.modelled_joules));
  return table;
}

Table loss_table(const Comparison& comparison) {
  constexpr int64_t kRows = 10;
  Table table{{"loss of step"}, {}};
  for (const OrderResult& run : comparison.runs) table.header.push_back(run.order);
  const int64_t rows = std::min(kRows, comparison.steps);
  for (int64_t i = 1; i <= rows; ++i) {
    const auto step = static_cast<size_t>((comparison.steps * i + rows - 1) / rows);
    auto& row = table.rows.emplace_back(std::vector<std::string>{std::to_string(step)});
    for (const OrderResult& run : comparison.runs) row.push_back(fmt::format("{:.6f}", run.losses[step - 1]));
  }
  return table;
}

int run_compare(const CompareOptions& given) {
  CompareOptions options = given;
  if (options.by_epochs) options.experiment.steps = 0;
  Display display(options.progress, stderr);
  const Comparison comparison = compare_orders(options, display);
  if (options.json)
    fmt::print("{}\n", to_json(comparison).dump(2));
  else if (options.csv)
    fmt::print("{}", to_csv(csv_table(comparison)));
  else
    fmt::print("{}{}\n{}\n{}\n{}\n", order_table(comparison), buffer_notes(comparison),
               to_text(traffic_table(comparison)), to_text(loss_table(comparison)), verdict(comparison));
  return comparison.identical() ? 0 : 1;
}

class Compare final : public Command {
  CompareOptions o_;

 public:
  Compare() { o_.experiment.steps = 20; }

 private:
  void declare(Parser& parser) override {
    parser({"--orders", "orders, separated by commas: baseline, il, mbs-fs, mbs1, mbs2, mbs-r"}, o_.orders);
    parser({"--arch,-a,--model", "network"}, o_.experiment.arch);
    parser({"--steps", "updates to compare", 1, 1e9}, o_.experiment.steps);
    parser({"--epochs", "whole epochs instead of --steps, with validation after each", 1, 1e6},
           o_.experiment.epochs);
    parser(
        {"--with-bn,!--no-with-bn", "one more run with batch norm in baseline order, no part of the verdict"},
        o_.with_bn);
    option_lists::progress(o_.progress, parser);
    option_lists::formats(o_, parser);
    option_lists::data(o_.experiment, parser);
    option_lists::network(o_.experiment, parser);
    option_lists::order(o_.experiment, parser);
    option_lists::machine(o_.experiment, parser);
    option_lists::optimizer(o_.experiment, parser);
  }

  void settle(const Parser& parser) override {
    o_.by_epochs = parser.given("--epochs");
    if (o_.by_epochs && parser.given("--steps")) fail_usage("give --steps or --epochs, not both");
  }

  int run() override { return run_compare(o_); }
};

}  // namespace

COMMAND(
    compare, Compare,
    "the same training in several orders: time, memory, DRAM bytes, and whether the bits agree",
    "The same training in several orders, each in a process of its own: time, memory, modelled DRAM bytes, "
    "loss, "
    "and whether the weights are bit-identical after every step (exit code 1 if not).",
    "  mbs compare --arch resnet20 --dataset fashion-mnist --orders baseline,mbs1,mbs2 --steps 20\n"
    "  mbs compare --epochs 2 --limit-train 6000 --with-bn --json\n")

}  // namespace mbs
