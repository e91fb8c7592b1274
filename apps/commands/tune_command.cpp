// `mbs tune`: measures plans on this machine and keeps the best for --buffer auto.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/commands/command.h"
#include "apps/measure/plan_race.h"
#include "apps/report/number_text.h"
#include "apps/resolve/plan_store.h"
#include "engine/check.h"

namespace mbs {
namespace {

using Json = nlohmann::ordered_json;

const char* outcome(const Candidate& candidate) {
  if (candidate.order == "baseline") return "reference";
  return candidate.best ? "best" : candidate.dropped ? "dropped" : "";
}

Table table_of(const std::vector<Candidate>& candidates, int batch) {
  Table table{{"order", "grouping", "buffer", "sub-batches", "s/step", "images/s", "peak memory", ""}, {}};
  for (const Candidate& c : candidates) {
    const bool planned = c.order != "baseline";
    table.rows.push_back({c.order, planned ? word_of(c.choice.grouping) : "-",
                          planned ? binary_bytes(c.plan.buffer_bytes) : "-", joined(sub_batches(c.plan), " "),
                          fmt::format("{:.4f}", c.seconds_per_step()),
                          fmt::format("{:.1f}", batch / c.seconds_per_step()), binary_bytes(c.peak_rss_bytes),
                          outcome(c)});
  }
  return table;
}

Table csv_of(const std::vector<Candidate>& candidates, int batch) {
  Table table{{"order", "grouping", "buffer_bytes", "groups", "sub_batches", "steps", "seconds_per_step",
               "images_per_second", "peak_rss_bytes", "outcome"},
              {}};
  for (const Candidate& c : candidates)
    table.rows.push_back({c.order, word_of(c.choice.grouping), std::to_string(c.plan.buffer_bytes),
                          std::to_string(c.plan.groups.size()), joined(sub_batches(c.plan), " "),
                          std::to_string(c.steps), fmt::format("{:.6f}", c.seconds_per_step()),
                          fmt::format("{:.3f}", batch / c.seconds_per_step()),
                          std::to_string(c.peak_rss_bytes), outcome(c)});
  return table;
}

Json json_of(const std::vector<Candidate>& candidates, const ExperimentOptions& e, const std::string& path) {
  Json json{{"network", e.arch},
            {"norm", e.norm},
            {"image_size", e.image_size},
            {"batch_size", e.batch_size},
            {"cores", e.cores},
            {"threads", e.threads},
            {"file", path},
            {"plans", Json::array()}};
  for (const Candidate& c : candidates)
    json["plans"].push_back({{"order", c.order},
                             {"grouping", word_of(c.choice.grouping)},
                             {"buffer_bytes", c.plan.buffer_bytes},
                             {"sub_batches", sub_batches(c.plan)},
                             {"steps", c.steps},
                             {"seconds_per_step", c.seconds_per_step()},
                             {"images_per_second", e.batch_size / c.seconds_per_step()},
                             {"peak_rss_bytes", c.peak_rss_bytes},
                             {"dropped", c.dropped},
                             {"best", c.best}});
  return json;
}

std::vector<TunedPlan> best_plans(const std::vector<Candidate>& candidates, const ExperimentOptions& e) {
  std::vector<TunedPlan> plans;
  for (const Candidate& c : candidates) {
    if (!c.best) continue;
    plans.push_back({tune_key(e, c.choice.rules.fused), c.order, c.choice.buffer_bytes, c.choice.grouping,
                     e.batch_size / c.seconds_per_step(), c.peak_rss_bytes});
  }
  return plans;
}

std::string kept_in(const std::string& path) {
  if (path.empty()) return "kept nowhere: MBS_TUNE=off, or no home folder; give --out";
  return fmt::format("kept in {}: --buffer auto uses it for this network, batch and machine{}", path,
                     path == tune_path() ? "" : ", with MBS_TUNE=" + path);
}

int run_tune(const TuneOptions& given) {
  TuneOptions options = given;
  ExperimentOptions& e = options.experiment;
  fill_in(e);
  e.image_size = image_size_of(e);
  const std::string path = options.out.empty() ? tune_path() : options.out;
  if (!path.empty()) read_tuned_plans(path);  // a file that is not ours shows before the work
  Display display(options.progress, stderr);
  std::vector<Candidate> candidates = make_candidates(options);
  measure(candidates, options, display);
  if (!path.empty()) add_tuned_plans(path, best_plans(candidates, e));

  if (options.json) {
    fmt::print("{}\n", json_of(candidates, e, path).dump(2));
    return 0;
  }
  if (options.csv) {
    fmt::print("{}", to_csv(csv_of(candidates, e.batch_size)));
    return 0;
  }
  fmt::print("{}, {}x{} images, batch {} on {} cores, {} threads\n\n{}\n", e.arch, e.image_size, e.image_size,
             e.batch_size, e.cores, e.threads, to_text(table_of(candidates, e.batch_size)));
  const double baseline = candidates.front().seconds_per_step();
  for (const Candidate& c : candidates)
    if (c.best)
      fmt::print("{}: {:.2f} times as fast as baseline in {}, {} grouping\n", c.order,
                 baseline / c.seconds_per_step(), binary_bytes(c.plan.buffer_bytes),
                 word_of(c.choice.grouping));
  fmt::print("{}\n", kept_in(path));
  return 0;
}

class Tune final : public Command {
  TuneOptions o_;

 public:
  Tune() {
    ExperimentOptions& e = o_.experiment;
    e.arch.clear();
  }

 private:
  void declare(Parser& parser) override {
    ExperimentOptions& e = o_.experiment;
    parser({"network,--arch,-a,--model", "network"}, e.arch);
    parser({"--orders", "orders, separated by commas: il, mbs-fs, mbs1, mbs2, mbs-r"}, o_.orders);
    parser({"--groupings", "ways to group, separated by commas: greedy, optimal"}, o_.groupings);
    parser(
        {"--buffers", "buffers, separated by commas; default: from 1/8 of the level 2 cache to 8 times that"},
        o_.buffers);
    parser(
        {"--steps", "steps of one measurement, after one that is not counted; 0: a second's worth", 0, 1000},
        o_.steps);
    parser({"--rounds", "measurements of a plan that stays in the race", 1, 100}, o_.rounds);
    parser({"--image-size", "height and width; 0: what the network usually takes", 0, 1024}, e.image_size);
    option_lists::cores(e, parser);
    option_lists::network(e, parser);
    option_lists::fusion(e, parser);
    parser({"--out", "file to keep the best in; default: $MBS_TUNE, or mbs/tune.json in ~/.config"}, o_.out);
    option_lists::progress(o_.progress, parser);
    option_lists::formats(o_, parser);
  }

  void settle(const Parser&) override {
    ExperimentOptions& e = o_.experiment;
    if (e.arch.empty())
      fail_usage("mbs tune needs the name of a network, such as resnet20; `mbs tune --help` lists them");
  }

  int run() override { return run_tune(o_); }
};

}  // namespace

NETWORK_COMMAND(
    tune, Tune, "measure plans of a network on this machine; --buffer auto uses the best from then on",
    "Measures plans of a network on this machine, a few steps of each in turn on synthetic images, "
    "and keeps the best of each order for --buffer auto. Bits never depend on it.",
    "  mbs tune resnet20\n  mbs tune resnet50 --batch-size 16 --rounds 2\n"
    "  mbs tune resnet18 --stem cifar --orders mbs2,mbs-r --buffers 512KiB,1MiB --json\n")

}  // namespace mbs
