#include "apps/training/trained_run.h"

#include "apps/options/settings.h"
#include "apps/training/experiment.h"
#include "apps/training/run_folder.h"
#include "engine/check.h"

namespace mbs {

TrainOptions read_run_options(const std::string& folder) {
  TrainOptions options;
  const std::string path = folder + "/config.toml";
  apply_settings(parse_toml(read_text_file(path), path), options);
  return options;
}

TrainedRun open_run(const std::string& name, const std::string& which) {
  const std::string folder = find_run(name);
  const TrainOptions options = read_run_options(folder);
  const ExperimentOptions& e = options.experiment;
  choose_kernels(e.kernels);
  const Checkpoint checkpoint = read_checkpoint(fmt::format("{}/{}.safetensors", folder, which));
  const Shape input{e.image_size, e.image_size, static_cast<int>(checkpoint.info.normalization.mean.size())};
  Network network = as_counted(
      make_network(network_options(e, input, static_cast<int>(checkpoint.info.class_names.size()))),
      rules_of(e.accounting, e.fusion));
  TrainState state = restore(checkpoint, network, false);
  return {folder, options, checkpoint.info, std::move(network), std::move(state)};
}

}  // namespace mbs
