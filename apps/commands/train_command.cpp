#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "apps/commands/command.h"
#include "apps/measure/machine_limits.h"
#include "apps/model/modelled_step.h"
#include "apps/options/settings.h"
#include "apps/report/number_text.h"
#include "apps/system/atomic_file.h"
#include "apps/system/child_process.h"
#include "apps/system/stop_signal.h"
#include "apps/training/banner.h"
#include "apps/training/train_loop.h"
#include "apps/training/trained_run.h"
#include "engine/check.h"
#include "mbs/plan_json.h"

namespace mbs {
namespace {

using Json = nlohmann::ordered_json;

struct SeedResult {
  int exit_code = 0;
  double test_accuracy = 0;
};

/// What may differ when a run is continued: how long it is, and what its bits do not depend on.
constexpr std::array kMayChange = {"epochs",     "steps",      "threads",      "order",    "buffer",
                                   "accounting", "fusion",     "tune",         "mirror",   "machine",
                                   "profile",    "target-acc", "log-interval", "progress", "data-dir"};

void check_same_run(const TrainOptions& options, const std::string& folder) {
  const Settings was = settings_of(read_run_options(folder)), is = settings_of(options);
  for (size_t i = 0; i < was.size(); ++i) {
    const bool may_change = std::find(kMayChange.begin(), kMayChange.end(), was[i].key) != kMayChange.end();
    if (!may_change && was[i].value != is[i].value)
      fail_usage(
          "{} was started with --{} {}, and cannot go on with {}: leave the option out, or start a new run",
          folder, was[i].key, was[i].value, is[i].value);
  }
}

std::string prepare_folder(const TrainOptions& options, const Experiment& experiment) {
  const ExperimentOptions& e = experiment.options;
  const std::string folder =
      options.resume.empty()
          ? create_run_folder(options.out.empty() ? fmt::format("runs/{}-{}-{}", e.arch, e.dataset, e.order)
                                                  : options.out)
          : options.resume;
  TrainOptions written = options;
  written.experiment = e;
  written.experiment.threads = options.experiment.threads;  // no part of the result
  replace_file(folder + "/config.toml",
               to_toml(written, fmt::format("mbs train --config {}/config.toml repeats this run", folder)));
  replace_file(folder + "/plan.json", plan_to_json(experiment.network, experiment.plan).dump(2) + "\n");
  return folder;
}

std::string run_header(const Experiment& e) {
  return Json{{"event", "run"},
              {"network", e.network.name()},
              {"parameters", e.network.parameter_count()},
              {"data", e.data.splits.train.source},
              {"training_images", e.data.held_out.train.size()},
              {"validation_images", e.data.held_out.validation.size()},
              {"test_images", e.data.test_indices.size()},
              {"order", e.options.order},
              {"batch_size", e.options.batch_size},
              {"cores", e.options.cores},
              {"kernels", e.options.kernels},
              {"seed", e.options.seed},
              {"steps", e.total_steps()}}
      .dump();
}

/// Tests the best weights, once, and tells what the run came to. They take the place of the trainer's.
SeedResult summarize(const TrainOptions& options, const Experiment& e, Trainer& trainer, TrainLoop& loop,
                     const RunOutcome& outcome, const std::string& folder, Display& display) {
  trainer.restore(read_checkpoint(folder + "/best.safetensors"));
  const Evaluation test = trainer.evaluate(e.data.splits.test, e.data.test_indices);
  const bool has_validation = !e.data.held_out.validation.empty();
  const RunPosition& position = outcome.position;
  const double speed =
      static_cast<double>(position.step * e.options.batch_size) / std::max(position.train_seconds, 1e-9);
  display.line(fmt::format(
      "\ntest      {} of {} images, loss {:.4f}: the weights of epoch {}{}", percent(test.accuracy),
      test.samples, test.loss, position.best_epoch,
      has_validation ? fmt::format(", best on the validation part ({})", percent(position.best_accuracy))
                     : ", the last one (nothing was held out for validation)"));
  display.line("          The test images were used for this number only.");
  display.line(fmt::format("time      {} for {} steps, {:.0f} images/s; {:.1f} s of it waited for images",
                           duration(position.train_seconds), position.step, speed, outcome.wait_seconds));
  const int64_t peak = peak_rss_bytes();
  display.line(fmt::format("memory    {} at most, {} of it planned", binary_bytes(peak),
                           binary_bytes(trainer.planned_bytes())));
  Json log{{"event", "summary"},
           {"test_acc", test.accuracy},
           {"test_loss", test.loss},
           {"best_epoch", position.best_epoch}};
  if (has_validation) log["best_val_acc"] = position.best_accuracy;
  log.update(Json{{"steps", position.step},
                  {"seconds", position.train_seconds},
                  {"images_per_second", speed},
                  {"peak_rss_bytes", peak}});

  const Traffic predicted = predicted_step_traffic(e.network, e.plan, e.options.batch_size, e.cores());
  log["dram_bytes_predicted"] = predicted.total_bytes();
  const StepCost modelled = trainer.modelled_step();
  if (const int64_t counted = modelled.traffic.total_bytes(); counted > 0) {
    log["dram_bytes_per_step"] = counted;
    log["dram_bytes_by_class"] = traffic_to_json(modelled.traffic);
    log["machine"] = e.machine.name;
    log["modelled_step_seconds"] = modelled.seconds;
    log["modelled_energy_joules"] = energy_to_json(modelled.energy);
    display.line(fmt::format(
        "DRAM      {} in the last step, counted from its kernel calls; {} predicted ({} counting)",
        decimal_bytes(counted), decimal_bytes(predicted.total_bytes()), e.plan.rules.name));
    display.line(
        fmt::format("model     {:.3f} ms and {:.4f} J a step on {} with {} cores and {}, bound by {}",
                    modelled.seconds * 1e3, modelled.energy.total(), e.machine.name, e.machine.chip_cores,
                    e.machine.memory.name, word_of(modelled.bound())));
  }
  display.line(fmt::format("files     {}", folder));
  loop.log(log.dump());

  const bool missed = options.target_acc > 0 && test.accuracy < options.target_acc;
  if (missed)
    display.line(
        fmt::format("target    missed: {} is below {}", percent(test.accuracy), percent(options.target_acc)));
  return {missed ? kExitTargetMissed : 0, test.accuracy};
}

/// Where the time of this process went, on the screen and in the log.
void show_profile(const Experiment& e, const Trainer& trainer, TrainLoop& loop, const RunOutcome& outcome,
                  Display& display) {
  Profile profile = trainer.profile();
  profile.seconds = outcome.seconds;
  profile.rows.push_back({.part = "wait for images", .phase = "step", .seconds = outcome.wait_seconds});
  const double peak = measure_fma_peak(std::min(e.options.threads, e.options.cores));
  const DataTable table = profile_table(e.options.order, profile, peak);
  display.line("\n" + profile_text(table));
  loop.log(Json{{"event", "profile"},
                {"steps", profile.steps},
                {"peak_gflop_per_s", peak * 1e-9},
                {"rows", to_json(table)["rows"]}}
               .dump());
}

SeedResult train_one(const TrainOptions& options, Display& display) {
  const auto experiment = make_experiment(options.experiment, [&](int64_t done, int64_t total) {
    display.status(static_cast<double>(done) / static_cast<double>(std::max<int64_t>(total, 1)),
                   "reading images", fmt::format("{} of {}", done, total));
  });
  display.clear();
  Trainer trainer(*experiment);
  RunPosition start;
  if (!options.resume.empty()) {
    const Checkpoint checkpoint = read_checkpoint(options.resume + "/last.safetensors");
    trainer.resume(checkpoint);
    start = checkpoint.info.position;
  }
  display.line(banner(*experiment, trainer.planned_bytes()));
  const std::string folder = prepare_folder(options, *experiment);
  display.line(fmt::format("run       {}{}\n", folder,
                           start.step > 0 ? fmt::format(", going on after step {}", start.step) : ""));

  TrainLoop loop(*experiment, trainer, folder, options.log_interval, display, start);
  if (start.log_bytes == 0) loop.log(run_header(*experiment));
  const RunOutcome outcome = loop.run();
  if (options.experiment.profile) show_profile(*experiment, trainer, loop, outcome, display);
  if (outcome.interrupted) {
    display.line(fmt::format("interrupted after step {}; saved. Go on with: mbs train --resume {}",
                             outcome.position.step, folder));
    return {kExitInterrupted, 0};
  }
  return summarize(options, *experiment, trainer, loop, outcome, folder, display);
}

int run_train(const TrainOptions& given) {
  TrainOptions options = given;
  if (!options.resume.empty()) {
    if (options.seeds > 1) fail_usage("--seeds trains new runs; it cannot be combined with --resume");
    options.resume = find_run(options.resume);
    check_same_run(options, options.resume);
  }
  install_stop_handler();
  Display display(options.progress, stdout);
  if (options.seeds == 1) return train_one(options, display).exit_code;

  std::vector<double> accuracies;
  int worst = 0;
  for (int i = 0; i < options.seeds; ++i) {
    TrainOptions one = options;
    one.experiment.seed += i;
    const ExperimentOptions& e = one.experiment;
    one.out = fmt::format(
        "{}-seed{}",
        options.out.empty() ? fmt::format("runs/{}-{}-{}", e.arch, e.dataset, e.order) : options.out, e.seed);
    const SeedResult result = train_one(one, display);
    if (result.exit_code == kExitInterrupted) return kExitInterrupted;
    worst = std::max(worst, result.exit_code);
    accuracies.push_back(result.test_accuracy);
  }
  const auto [low, high] = std::minmax_element(accuracies.begin(), accuracies.end());
  const double mean =
      std::accumulate(accuracies.begin(), accuracies.end(), 0.0) / static_cast<double>(accuracies.size());
  display.line(fmt::format("\n{} seeds: test accuracy {} on average, {} to {}", options.seeds, percent(mean),
                           percent(*low), percent(*high)));
  return worst;
}

class Train final : public Command {
  TrainOptions o_;
  std::string recipe_, config_;

  void declare(Parser& parser) override {
    parser({"--recipe",
            "preset that other flags override: he2016 (He et al. 2015 on CIFAR), fast (30 epochs), demo "
            "(resnet8, 10,000 images, 3 epochs)"},
           recipe_);
    parser({"--config", "options from a TOML file, such as config.toml of a run"}, config_);
    parser({.names = "--resume",
            .help = "go on with a run: its folder, its name under runs/, or last",
            .bare = "last"},
           o_.resume);
    parser({"--out", "run folder; default runs/ARCH-DATASET-ORDER, never overwritten"}, o_.out);
    parser({"--seeds", "train N times with seeds SEED, SEED+1, ...; prints mean and range", 1, 1000},
           o_.seeds);
    visit_train_options(o_, parser);
  }

  /// Recipe, config file and the run that is resumed, one on top of the other, below the flags.
  void settle(const Parser& parser) override {
    const auto apply = [&](const Settings& settings) { apply_below_flags(parser, settings, o_); };
    if (!recipe_.empty()) apply(recipe(recipe_));
    if (!config_.empty()) apply(parse_toml(read_text_file(config_), config_));
    if (o_.resume.empty()) return;
    const std::string path = find_run(o_.resume) + "/config.toml";
    apply(parse_toml(read_text_file(path), path));
  }

  int run() override { return run_train(o_); }
};

}  // namespace

COMMAND(train, Train, "train a network; runs/NAME/ gets its weights, logs and configuration",
        "Trains a network.",
        "  mbs train --dataset fashion-mnist --arch resnet20 --epochs 10\n"
        "  mbs train --dataset folder --data-dir my-images --recipe fast --target-acc 0.9\n"
        "  mbs train --resume last --epochs 20\n")

}  // namespace mbs
