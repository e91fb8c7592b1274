#include "apps/training/experiment.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "apps/report/number_text.h"
#include "apps/resolve/machine_info.h"
#include "apps/resolve/plan_store.h"
#include "engine/check.h"
#include "engine/data_parallel.h"
#include "engine/gemm.h"
#include "engine/parallel.h"
#include "layers/fusion.h"
#include "layers/kernels/kernel_set.h"

namespace mbs {
namespace {

// --buffer auto plans for this part of the level 2 cache: a cache that drops what was touched longest ago
// does the work of a managed buffer of that size (docs/cachecheck.md), and weights and working space want
// room too.
constexpr int kCacheShare = 4;

// How features are counted where the buffer is a cache of this machine.
constexpr const char* kAutomaticRules = "planned and counted with 32-bit features";

int64_t epochs_to_steps(double epochs, int64_t steps_per_epoch) {
  return std::llround(epochs * static_cast<double>(steps_per_epoch));
}

/// Usage error: options of the optimizer that exclude each other.
void check_optimizer(const ExperimentOptions& options) {
  if (options.ema > 0 && options.norm == "bn")
    fail_usage(
        "--ema with --norm bn: running statistics belong to the weights that they were taken with; leave out "
        "--ema, or take group norm");
  if (options.lr_min > options.lr)
    fail_usage("--lr-min {} is above --lr {}, the highest learning rate", options.lr_min, options.lr);
  const LrShape kind = parse_word<LrShape>(options.lr_schedule);
  if (options.lr_min > 0 && kind != LrShape::cosine && kind != LrShape::onecycle)
    fail_usage("--lr-min is for --lr-schedule cosine and onecycle, not for {}", options.lr_schedule);
}

}  // namespace

int image_size_of(const ExperimentOptions& options) {
  if (options.image_size > 0) return options.image_size;
  if (options.stem == "cifar") return 32;
  if (options.stem == "imagenet") return 224;
  for (const ArchInfo& info : architectures())
    if (info.name == options.arch) return info.input.h;
  return 32;
}

void fill_in(ExperimentOptions& options) {
  if (options.norm == "gn" && options.gn_groups == 0 && options.gn_channels == 0)
    options.gn_groups = kDefaultGnGroups;
  const int hardware = hardware_threads();
  if (options.cores == 0) options.cores = std::min(hardware, options.batch_size);
  if (options.threads == 0) options.threads = std::min(options.cores, hardware);
}

Data load_data(const ExperimentOptions& options, const Progress& progress) {
  DatasetOptions which;
  which.name = options.dataset;
  which.dir = options.data_dir;
  which.image_size = image_size_of(options);
  which.seed = static_cast<uint64_t>(options.seed);
  which.threads = options.threads;
  if (options.limit_train > 0) {
    // Synthetic images are made, not read: no more than are used.
    const double needed = options.limit_train / (1 - options.val_share) + 100;
    which.synthetic_train = static_cast<int>(std::min<double>(which.synthetic_train, needed));
    which.synthetic_test = std::min(which.synthetic_test, which.synthetic_train);
  }
  Data data;
  data.splits = load_dataset(which, progress);
  const auto seed = static_cast<uint64_t>(options.seed);
  data.held_out = hold_out(data.splits.train, options.val_share, seed);
  if (options.limit_train > 0) data.held_out.train = choose(data.held_out.train, options.limit_train, seed);
  data.normalization = compute_normalization(data.splits.train, data.held_out.train);
  data.test_indices.resize(static_cast<size_t>(data.splits.test.count()));
  std::iota(data.test_indices.begin(), data.test_indices.end(), 0);
  return data;
}

template <class Options>
NetworkOptions network_options(const Options& options, Shape input, int classes) {
  NetworkOptions network;
  network.arch = options.arch;
  network.input = input;
  network.classes = classes;
  network.norm = options.norm == "bn" ? Norm::batch : Norm::group;
  network.gn_groups = options.gn_groups;
  network.gn_channels = options.gn_channels;
  network.weight_standardization = options.weight_standardization;
  network.shortcut = options.shortcut == "a"   ? Shortcut::a
                     : options.shortcut == "b" ? Shortcut::b
                                               : Shortcut::standard;
  network.stem = options.stem == "cifar"      ? Stem::cifar
                 : options.stem == "imagenet" ? Stem::imagenet
                                              : Stem::standard;
  if constexpr (requires { options.label_smoothing; }) network.label_smoothing = options.label_smoothing;
  return network;
}
template NetworkOptions network_options(const ExperimentOptions&, Shape, int);
template NetworkOptions network_options(const PlanCliOptions&, Shape, int);

Network published_network(const PlanCliOptions& options) {
  Shape input{32, 32, 3};
  for (const ArchInfo& info : architectures())
    if (info.name == options.arch) input = info.input;
  if (options.stem == "imagenet") input = {224, 224, 3};
  if (options.stem == "cifar") input = {32, 32, 3};
  const int classes = options.classes > 0 ? options.classes : input.h > 64 ? 1000 : 10;
  if (options.image_size > 0) input.h = input.w = options.image_size;
  return make_network(network_options(options, input, classes));
}

void choose_kernels(const std::string& name) {
  require_openmp_blas();
  set_kernel_set(name == "auto" ? KernelSet::automatic : parse_word<KernelSet>(name));
}

TrafficRules rules_of(const std::string& accounting, const std::string& fusion) {
  return traffic_rules(fusion == "auto" ? accounting : fmt::format("{},fusion={}", accounting, fusion));
}

Recompute parse_recompute(const std::string& text) {
  return text == "expansions" ? Recompute::expansions : Recompute::joins;
}

PlanChoice plan_choice(const std::string& buffer, const TrafficRules& rules) {
  PlanChoice choice;
  choice.rules = rules;
  if (buffer != "auto") {
    choice.buffer_bytes = parse_bytes(buffer);
    return choice;
  }
  choice.buffer_bytes = level2_cache_bytes() / kCacheShare;
  choice.rules.feature_bits = 32;
  choice.rules.name += ", 32-bit features";
  choice.automatic = true;
  // Greedy merges alone would read large weights again for every few samples: ResNet-18, ResNet-50.
  choice.grouping = Grouping::optimal;
  choice.note = fmt::format(
      "--buffer auto: 1/{} of the level 2 cache of a core here ({}), or what one sample "
      "needs, optimal grouping; {}",
      kCacheShare, binary_bytes(level2_cache_bytes()), kAutomaticRules);
  return choice;
}

PlanChoice run_plan_choice(const ExperimentOptions& options) {
  PlanChoice choice = plan_choice(options.buffer, rules_of(options.accounting, options.fusion));
  choice.recompute = parse_recompute(options.recompute);
  if (!choice.automatic || !options.tune) return choice;
  const TunedChoice tuned = find_tuned_plan(tune_key(options, choice.rules.fused), options.order);
  if (tuned.plan) {
    choice.buffer_bytes = tuned.plan->buffer_bytes;
    choice.grouping = tuned.plan->grouping;
    choice.note = fmt::format("--buffer auto: {}, {} grouping, {}; {}", binary_bytes(choice.buffer_bytes),
                              word_of(choice.grouping), tuned.note, kAutomaticRules);
  } else if (!tuned.note.empty()) {
    choice.note += "\n          mbs tune: " + tuned.note;
  }
  return choice;
}

Plan plan_share(const Network& network, const std::string& order, int batch, int cores,
                const PlanChoice& choice) {
  check_shares(batch, cores);
  PlanOptions options;
  options.order = parse_word<Order>(order);
  options.batch = (batch + cores - 1) / cores;  // the largest share
  options.buffer_bytes = choice.buffer_bytes;
  options.rules = choice.rules;
  options.grouping = choice.grouping;
  options.recompute = choice.recompute;
  if (choice.automatic)
    options.buffer_bytes = std::max(options.buffer_bytes, smallest_buffer_bytes(network, options));
  return make_plan(network, options);
}

Network as_counted(const Network& network, const TrafficRules& rules) {
  return rules.fused ? fuse_relu(network) : network;
}

CountingRules counting_rules(const TrafficRules& rules) {
  return {rules.feature_bits, rules.partial_sum_bits, rules.pool_index_bits, rules.max_sweeps};
}

Traffic predicted_step_traffic(const Network& network, const Plan& plan, int batch, int cores) {
  Traffic sum;
  for (int core = 0; core < cores; ++core) {
    Schedule schedule = plan.schedule;
    schedule.batch = core_share(batch, cores, core).size();
    for (Pass& pass : schedule.passes) pass.sub_batch = std::min(pass.sub_batch, schedule.batch);
    sum += predicted_traffic(network, schedule, plan.rules);
  }
  return sum;
}

LoaderOptions Experiment::loader_options() const {
  LoaderOptions loader;
  loader.batch_size = options.batch_size;
  loader.seed = static_cast<uint64_t>(options.seed);
  const bool standard = options.aug == "standard";
  loader.augmentation = {standard ? options.pad : 0, standard && options.flip, options.cutout,
                         options.pad_mode == "reflect" ? PadMode::reflect : PadMode::black};
  if (options.overfit_batch) {
    loader.shuffle = false;
    loader.augmentation = kNoAugmentation;
  }
  return loader;
}

int64_t Experiment::steps_per_epoch() const {
  return static_cast<int64_t>(data.held_out.train.size()) / options.batch_size;
}

int64_t Experiment::total_steps() const {
  return options.steps > 0 ? options.steps : options.epochs * steps_per_epoch();
}

LrSchedule Experiment::lr_schedule() const {
  LrSchedule schedule;
  schedule.shape = parse_word<LrShape>(options.lr_schedule);
  schedule.lr = options.lr;
  schedule.lr_min = options.lr_min;
  schedule.total_steps = total_steps();
  schedule.warmup_steps = epochs_to_steps(options.warmup, steps_per_epoch());
  for (const int epoch : options.milestones)
    schedule.milestones.push_back(epochs_to_steps(epoch, steps_per_epoch()));
  if (options.milestones.empty())
    schedule.milestones = {schedule.total_steps / 2, schedule.total_steps * 3 / 4};
  std::sort(schedule.milestones.begin(), schedule.milestones.end());
  return schedule;
}

SgdOptions Experiment::sgd_options() const {
  return {.momentum = options.momentum,
          .weight_decay = options.weight_decay,
          .nesterov = options.nesterov,
          .decay_norm_and_bias = options.wd_norm};
}

std::unique_ptr<const Experiment> make_experiment(const ExperimentOptions& given, const Progress& progress,
                                                  const PlanChoice* given_choice) {
  ExperimentOptions options = given;
  fill_in(options);
  check_shares(options.batch_size, options.cores);
  check_optimizer(options);
  parse_word<Order>(options.order);
  plan_choice(options.buffer, rules_of(options.accounting, options.fusion));  // what is wrong shows at once
  choose_kernels(options.kernels);
  Machine machine = load_machine(options.modelled);

  Data data = load_data(options, progress);
  options.image_size = data.splits.train.shape.h;
  const auto images = static_cast<int64_t>(data.held_out.train.size());
  if (images < options.batch_size)
    fail_usage(
        "{} training images do not fill one batch of {}: give --batch-size {} or less, a larger "
        "--limit-train, or a "
        "smaller --val-share",
        images, options.batch_size, images);
  if (options.overfit_batch) {
    auto& train = data.held_out.train;
    const std::vector<int> first = choose(train, options.batch_size, static_cast<uint64_t>(options.seed));
    for (size_t i = 0; i < train.size(); ++i) train[i] = first[i % first.size()];
  }
  const PlanChoice choice = given_choice != nullptr ? *given_choice : run_plan_choice(options);
  Network network =
      as_counted(make_network(network_options(options, data.splits.train.shape, data.splits.train.classes())),
                 choice.rules);
  Plan plan = plan_share(network, options.order, options.batch_size, options.cores, choice);
  machine.chip_cores = options.cores;
  machine.global_buffer_bytes = plan.buffer_bytes;
  return std::make_unique<const Experiment>(Experiment{options, std::move(data), std::move(network),
                                                       std::move(plan), choice.note, std::move(machine)});
}

}  // namespace mbs
