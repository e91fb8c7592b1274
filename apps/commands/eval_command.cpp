// `mbs eval`: accuracy of a run's weights on a part of its data.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/commands/commands.h"
#include "apps/report/number_text.h"
#include "apps/training/evaluator.h"
#include "apps/training/experiment.h"
#include "apps/training/trained_run.h"
#include "engine/check.h"
#include "engine/parallel.h"

namespace mbs {

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

}  // namespace mbs
