// From options to everything that a training run consists of: data, network, plan, machine.
#pragma once

#include <memory>
#include <vector>

#include "apps/options/options.h"
#include "apps/training/lr_schedule.h"
#include "datasets/dataset.h"
#include "datasets/loader.h"
#include "datasets/pixel_normalization.h"
#include "datasets/split.h"
#include "engine/network.h"
#include "engine/optimizer.h"
#include "layers/zoo/zoo.h"
#include "mbs/planner.h"
#include "wavecore/simulator.h"

namespace mbs {

/// The images of a run.
struct Data {
  DataSplits splits;
  HeldOut held_out;
  Normalization normalization;  ///< of the part that is trained on
  std::vector<int> test_indices;
};

/// Loads and splits; `progress` as for load_dataset. No thread is started where `options.threads` is 1.
Data load_data(const ExperimentOptions& options, const Progress& progress = {});

/// The options of the network that a run trains on images of this shape. Error (usage): an unknown word.
template <class Options>
NetworkOptions network_options(const Options& options, Shape input, int classes);

/// A network without data: input and classes as it was published for, unless the options say otherwise.
Network published_network(const PlanCliOptions& options);

/// The convolution kernels of the networks that are made from now on: auto, direct or gemm. Error: not the
/// OpenBLAS that works with our threads.
void choose_kernels(const std::string& name);

/// The rules that --accounting and --fusion ask for. Error (usage): as traffic_rules().
TrafficRules rules_of(const std::string& accounting, const std::string& fusion);

/// Counting rules and buffer of a plan. `buffer` auto: for this machine's level 2
/// cache, features of 32 bits.
struct PlanChoice {
  int64_t buffer_bytes = 0;
  TrafficRules rules;
  bool automatic = false;  ///< the buffer may be enlarged to what one sample of the network needs
  std::string note;        ///< how the buffer was chosen; empty if it was given
  Grouping grouping = Grouping::greedy;
  Recompute recompute = Recompute::joins;  ///< mbs-r: the most that is made again
};

/// What --recompute says.
Recompute parse_recompute(const std::string& text);

PlanChoice plan_choice(const std::string& buffer, const TrafficRules& rules);

/// The choice of a real run: with --buffer auto and --tune the plan that `mbs tune` found best for it, where
/// there is one, otherwise plan_choice(). Cores and image size must be filled in.
PlanChoice run_plan_choice(const ExperimentOptions& options);

/// Fills in what the options leave open (groups of the norm, cores, threads), so that config.toml says all
/// that the result depends on.
void fill_in(ExperimentOptions& options);

/// Height and width of the images: --image-size, or what the network usually takes.
int image_size_of(const ExperimentOptions& options);

/// A plan of the largest share of a batch that a core gets. Error (usage): fewer samples than cores.
Plan plan_share(const Network& network, const std::string& order, int batch, int cores,
                const PlanChoice& choice);

/// The network that is planned, run and counted under the rules: fused or not.
Network as_counted(const Network& network, const TrafficRules& rules);

/// The part of the rules that the accountant of the WaveCore model needs.
CountingRules counting_rules(const TrafficRules& rules);

/// Predicted DRAM bytes of one step of all cores: cores whose shares differ are predicted one by one.
Traffic predicted_step_traffic(const Network& network, const Plan& plan, int batch, int cores);

/// Everything but the weights. Not to be moved once something refers into it.
struct Experiment {
  ExperimentOptions options;  ///< with cores, threads and image size filled in
  Data data;
  Network network;
  Plan plan;
  std::string buffer_note;
  Machine machine;  ///< what is modelled: --machine with the cores of this run and the buffer of its plan

  int cores() const { return options.cores; }
  int classes() const { return data.splits.train.classes(); }
  LoaderOptions loader_options() const;
  int64_t steps_per_epoch() const;
  int64_t total_steps() const;
  LrSchedule lr_schedule() const;
  SgdOptions sgd_options() const;
};

/// Error: anything that cannot be had or does not fit together. `choice`, where given, stands for what
/// --buffer, --accounting and --fusion say.
std::unique_ptr<const Experiment> make_experiment(const ExperimentOptions& options,
                                                  const Progress& progress = {},
                                                  const PlanChoice* choice = nullptr);

}  // namespace mbs
