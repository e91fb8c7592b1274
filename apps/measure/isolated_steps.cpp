#include "apps/measure/isolated_steps.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/report/progress.h"
#include "apps/system/child_process.h"
#include "apps/training/trainer.h"

namespace mbs {
namespace {

using Json = nlohmann::json;

constexpr int kFewestSteps = 2, kMostSteps = 20;

// What train does in a step, measured.
void time_in_child(const ExperimentOptions& e, int wanted_steps, const PlanChoice* choice, int answers) {
  const auto experiment = make_experiment(e, {}, choice);
  Trainer trainer(*experiment);
  const Data& data = experiment->data;
  Loader loader(data.splits.train, data.held_out.train, data.normalization, experiment->loader_options());
  loader.start(0);
  const auto batch = loader.next();
  Stopwatch watch;
  trainer.step(*batch, 0, e.lr);
  const int steps = wanted_steps > 0
                        ? wanted_steps
                        : std::clamp(static_cast<int>(1 / watch.seconds()), kFewestSteps, kMostSteps);
  trainer.restart_profile();
  std::vector<double> seconds;
  for (int step = 1; step <= steps; ++step) {
    watch.restart();
    trainer.step(*batch, step, e.lr);
    seconds.push_back(watch.seconds());
  }
  send_answer(answers, {{"seconds", seconds},
                        {"peak_rss_bytes", peak_rss_bytes()},
                        {"planned_bytes", trainer.planned_bytes()},
                        {"buffer_bytes", experiment->plan.buffer_bytes},
                        {"buffer_note", experiment->buffer_note},
                        {"sub_batches", sub_batches(experiment->plan)},
                        {"flops", step_flops(experiment->network, e.batch_size)},
                        {"profile", to_json(trainer.profile())}});
}

}  // namespace

ExperimentOptions synthetic_experiment(const ExperimentOptions& options, const std::string& order) {
  ExperimentOptions e = options;
  fill_in(e);
  e.image_size = image_size_of(e);
  e.order = order;
  e.dataset = "synthetic";
  e.limit_train = e.batch_size;
  e.val_share = 0;
  e.aug = "none";
  e.lr = 0;
  return e;
}

StepTimes time_steps(const ExperimentOptions& experiment, int steps, const PlanChoice* choice) {
  ChildProcess child(experiment.order,
                     [&](int answers) { time_in_child(experiment, steps, choice, answers); });
  const Json answer = child.answer();
  return {answer["seconds"].get<std::vector<double>>(),
          answer["peak_rss_bytes"].get<int64_t>(),
          answer["planned_bytes"].get<int64_t>(),
          answer["buffer_bytes"].get<int64_t>(),
          answer["buffer_note"].get<std::string>(),
          answer["sub_batches"].get<std::vector<int>>(),
          answer["flops"].get<double>(),
          profile_from_json(answer["profile"])};
}

}  // namespace mbs
