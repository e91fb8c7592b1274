// A finished run, opened again: its options, its weights and the network that they fit.
#pragma once

#include <memory>
#include <string>

#include "apps/options/options.h"
#include "apps/training/checkpoint.h"
#include "engine/network.h"

namespace mbs {

/// The options in a run's config.toml.
TrainOptions read_run_options(const std::string& folder);

struct TrainedRun {
  std::string folder;
  TrainOptions options;
  CheckpointInfo info;
  Network network;
  TrainState state;  ///< without momentum
};

/// `name` as for find_run(); `which`: best or last. Error: no such run or checkpoint, or one that does not
/// fit its config.
TrainedRun open_run(const std::string& name, const std::string& which);

}  // namespace mbs
