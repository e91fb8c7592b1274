// `mbs eval`: accuracy of a run's weights on a part of its data.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/commands/command.h"
#include "apps/report/number_text.h"
#include "apps/training/evaluator.h"
#include "apps/training/experiment.h"
#include "apps/training/trained_run.h"
#include "engine/check.h"
#include "engine/parallel.h"

namespace mbs {
namespace {

struct EvalOptions {
  std::string run, split = "test", checkpoint = "best";
  std::string data_dir;
  int threads = 0;
  bool mirrored = false, json = false;
};

int run_eval(const EvalOptions& options) {
  const TrainedRun run = open_run(options.run, options.checkpoint);
  ExperimentOptions e = run.options.experiment;
  if (!options.data_dir.empty()) e.data_dir = options.data_dir;
  const Data data = load_data(e);
  const Dataset& part = options.split == "test" ? data.splits.test : data.splits.train;
  if (part.class_names != run.info.class_names)
    fail("{} was trained on other classes than those of {}", run.folder, part.source);
  const auto& indices = options.split == "test"  ? data.test_indices
                        : options.split == "val" ? data.held_out.validation
                                                 : data.held_out.train;
  if (indices.empty())
    fail_usage("{} has no images in its {} part (--val-share 0?)", run.folder, options.split);

  const int threads = options.threads > 0 ? options.threads : hardware_threads();
  const Evaluation result =
      Evaluator(run.network, threads)
          .evaluate(part, indices, run.info.normalization, spans_of(run.state), options.mirrored);
  if (options.json) {
    const nlohmann::ordered_json json{{"run", run.folder},
                                      {"checkpoint", options.checkpoint},
                                      {"epoch", run.info.position.epoch},
                                      {"split", options.split},
                                      {"mirrored", options.mirrored},
                                      {"images", result.samples},
                                      {"accuracy", result.accuracy},
                                      {"loss", result.loss}};
    fmt::print("{}\n", json.dump(2));
    return 0;
  }
  fmt::print("{} ({} weights, epoch {}): {} of {} {} images{}, loss {:.4f}\n", run.folder, options.checkpoint,
             run.info.position.epoch, percent(result.accuracy), result.samples, options.split,
             options.mirrored ? ", averaged with mirrored ones" : "", result.loss);
  return 0;
}

class Eval final : public Command {
  EvalOptions o_;

  void declare(Parser& parser) override {
    parser({.names = "run", .help = "run folder, its name under runs/, or last", .required = true}, o_.run);
    parser({"--split", "part of the data", 0, 0, "test|val|train"}, o_.split);
    parser({"--checkpoint", "which weights", 0, 0, "best|last"}, o_.checkpoint);
    parser({"--data-dir", "where the data is now, if it moved"}, o_.data_dir);
    parser({"--mirrored", "average the probabilities of every image and of its mirror image"}, o_.mirrored);
    parser({"--threads,-j", "threads; 0: all", 0, 4096}, o_.threads);
    parser({"--json", "print JSON"}, o_.json);
  }

  int run() override { return run_eval(o_); }
};

}  // namespace

COMMAND(eval, Eval, "accuracy of a run on a part of its data", "Accuracy of a run's weights.",
        "  mbs eval runs/resnet20-fashion-mnist-mbs2\n  mbs eval last --split val --checkpoint last --json\n")

}  // namespace mbs
