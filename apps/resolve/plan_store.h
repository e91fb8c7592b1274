// The plans that `mbs tune` found best, in a file that outlives it. --buffer auto looks here first. Bits
// never depend on what is found.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/options/options.h"
#include "mbs/order.h"

namespace mbs {

/// What a measured plan is good for: the same machine, network and share of a batch.
struct TuneKey {
  std::string machine;    ///< processor, instruction set and caches, as machine_key() names them
  std::string precision;  ///< "float" or "double"
  std::string network, norm, shortcut, stem;
  int image_size = 0, batch_per_core = 0;
  std::string kernels;
  bool fused = true;

  bool operator==(const TuneKey&) const = default;
};

/// The best plan of one order, and what it came to.
struct TunedPlan {
  TuneKey key;
  std::string order;
  int64_t buffer_bytes = 0;  ///< as planned with features in the precision of the engine
  Grouping grouping = Grouping::greedy;
  double images_per_second = 0;
  int64_t peak_rss_bytes = 0;

  bool operator==(const TunedPlan&) const = default;
};

/// The key of a run whose image size, batch and cores are filled in.
TuneKey tune_key(const ExperimentOptions& options, bool fused);

/// Where plans are kept: the environment variable MBS_TUNE if set, otherwise mbs/tune.json under
/// $XDG_CONFIG_HOME or ~/.config. "": nowhere (MBS_TUNE=off, or no home).
std::string tune_path();

/// The plans of a file; none where there is no file. Error: it cannot be read, is no file of `mbs tune`, or
/// holds what no `mbs tune` writes; the message names the file and the plan.
std::vector<TunedPlan> read_tuned_plans(const std::string& path);

/// Puts `plans` into the file, in place of those of the same key and order, and keeps the others. Makes the
/// folder. Error: as read_tuned_plans(), or it cannot be written; what was there is then untouched.
void add_tuned_plans(const std::string& path, const std::vector<TunedPlan>& plans);

/// What the file at tune_path() says about an order.
struct TunedChoice {
  std::optional<TunedPlan> plan;
  std::string note;  ///< where it is from, or why the file is not used; "" where there is no such plan
};
TunedChoice find_tuned_plan(const TuneKey& key, const std::string& order);

}  // namespace mbs
