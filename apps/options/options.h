// What the sub-commands are told: plain values, each with its default. One list (visit_*) serves the command
// line, the config file and the help text, so that a flag cannot exist in one of them only.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "apps/report/hand_out.h"

namespace mbs {

inline constexpr const char* kAccountingHelp =
    "counting rules of the WaveCore model (docs/accounting.md): paper, conservative or fused (norm + ReLU "
    "run as one "
    "layer), and switches: paper,space=out-of-place,partial-sum-bits=32,feature-bits=16,fusion=none,sweeps=2";

/// What a real run counts, and so runs, unless it is told otherwise.
inline constexpr const char* kRunAccounting = "fused";

/// How one option is spelled and what it may be.
struct OptionInfo {
  const char* names;  ///< "--arch,-a,--model"; a switch: "--flip,!--no-flip". The first one, without dashes,
                      ///< is its key
  const char* help;
  double min = -std::numeric_limits<double>::infinity(), max = std::numeric_limits<double>::infinity();
  const char* choices = "";    ///< "gn|bn"; empty: anything
  bool required = false;       ///< a word that must be given
  const char* bare = nullptr;  ///< what the flag means without a value; null: it needs one
};

/// Data, network, order and machine: what decides what a training step computes.
struct ExperimentOptions {
  std::string dataset = "fashion-mnist", data_dir;
  int image_size = 0;  ///< 0: 32, or 224 for a network with the ImageNet stem
  double val_share = 0.1;
  int limit_train = 0;
  bool overfit_batch = false;
  std::string aug = "standard", pad_mode = "black";
  int pad = 4;
  bool flip = true;
  int cutout = 0;

  std::string arch = "resnet20", norm = "gn", shortcut = "auto", stem = "auto";
  int gn_groups = 0, gn_channels = 0;
  bool weight_standardization = false;
  double label_smoothing = 0;

  std::string order = "mbs2", buffer = "auto", accounting = kRunAccounting, fusion = "auto", kernels = "auto";
  std::string recompute = "cheap";
  std::string modelled = "wavecore";
  int batch_size = 128;
  int cores = 0, threads = 0;
  bool mirror = true, tune = true, profile = false;

  double lr = 0.1, lr_min = 0;
  std::string lr_schedule = "cosine";
  std::vector<int> milestones;
  double warmup = 1;
  double momentum = 0.9, weight_decay = 1e-4, ema = 0;
  bool nesterov = false, wd_norm = true;
  int epochs = 10;
  int64_t steps = 0;
  int64_t seed = 0;
};

/// `mbs train`.
struct TrainOptions {
  ExperimentOptions experiment;
  int seeds = 1;
  std::string out;
  std::string progress = "auto";
  int log_interval = 50;
  double target_acc = 0;
  std::string resume;  ///< a run folder; empty: a new run
};

struct PlanCliOptions {
  std::string arch, order = "mbs2", buffer = "10MiB", accounting = "paper", fusion = "auto";
  std::string grouping = "greedy", recompute = "cheap";
  std::string norm = "gn", shortcut = "auto", stem = "auto";
  int gn_groups = 0, gn_channels = 0;
  bool weight_standardization = false;
  int batch_size = 32, cores = 1, classes = 0, image_size = 0;
  bool json = false, csv = false;
};

struct CompareOptions {
  ExperimentOptions experiment;
  std::vector<std::string> orders = {"baseline", "mbs1", "mbs2"};
  bool by_epochs = false;  ///< --epochs was given: whole epochs with validation, else `steps` steps
  bool with_bn = false;
  std::string progress = "auto";
  bool json = false, csv = false;
};

/// `mbs tune`. Of the experiment: network, batch size, cores, threads, image size, kernels, fusion.
struct TuneOptions {
  ExperimentOptions experiment;
  std::vector<std::string> orders = {"mbs1", "mbs2"}, groupings = {"greedy", "optimal"};
  std::vector<std::string> buffers;  ///< empty: from an eighth of the level 2 cache to eight times that
  int steps = 0;                     ///< of one measurement; 0: about a second's worth
  int rounds = 3;                    ///< measurements of a plan that stays in the race
  std::string out;                   ///< empty: tune_path()
  std::string progress = "auto";
  bool json = false, csv = false;
};

struct InfoOptions {
  bool json = false;
};

/// `mbs bench step`. Of the experiment: what decides network, plan and machine.
struct BenchStepOptions {
  ExperimentOptions experiment;
  std::vector<std::string> orders = {"baseline", "mbs2"};
  int steps = 0;   ///< of one measurement; 0: about a second's worth
  int rounds = 5;  ///< measurements of each order
  std::string progress = "auto";
  Output output;
};

namespace option_lists {

template <class Visit>
void progress(std::string& mode, Visit&& visit) {
  visit({"--progress", "bar = one refreshed line, plain = lines; auto: bar on a terminal", 0, 0,
         "auto|bar|plain|none"},
        mode);
}

template <class Visit>
void data(ExperimentOptions& o, Visit&& visit) {
  visit({"--dataset,-d", "fashion-mnist, cifar10, cifar100, folder or synthetic (see `mbs data list`)"},
        o.dataset);
  visit({"--data-dir", "where its files are; default: the usual place of the data set"}, o.data_dir);
  visit({"--image-size", "images are brought to this height and width; 0: what the network usually takes", 0,
         1024},
        o.image_size);
  visit({"--val-share", "share of the training images held out for validation", 0, 0.9}, o.val_share);
  visit({"--limit-train", "train on N of the training images, chosen by the seed; 0: all", 0, 1e9},
        o.limit_train);
  visit({"--aug", "standard: random crop after padding, and mirroring", 0, 0, "none|standard"}, o.aug);
  visit({"--pad", "pixels that --aug standard pads on each side", 0, 64}, o.pad);
  visit({"--pad-mode",
         "what the border shows: black, as usual, or reflect = the image mirrored, so that crops look like "
         "whole images to a norm that takes statistics of a single image",
         0, 0, "black|reflect"},
        o.pad_mode);
  visit({"--flip,!--no-flip", "--aug standard also mirrors half of the images"}, o.flip);
  visit({"--cutout", "side of a square that is blanked in every training image; 0: none", 0, 256}, o.cutout);
}

template <class Options, class Visit>
void network(Options& o, Visit&& visit) {
  visit({"--norm", "group norm, or batch norm (baseline order only)", 0, 0, "gn|bn"}, o.norm);
  visit({"--gn-groups", "groups of a group norm; 0: the default of the network", 0, 4096}, o.gn_groups);
  visit({"--gn-channels", "channels per group instead of --gn-groups", 0, 4096}, o.gn_channels);
  visit({"--weight-standardization,--ws,!--no-weight-standardization",
         "convolutions before a norm use their weights with mean 0 and length 1 in each filter"},
        o.weight_standardization);
  visit({"--shortcut", "where a residual block changes shape: a = free of parameters, b = 1x1 convolution", 0,
         0, "auto|a|b"},
        o.shortcut);
  visit({"--stem", "first layers of a ResNet: cifar = 3x3 convolution, imagenet = 7x7/2 and pooling", 0, 0,
         "auto|cifar|imagenet"},
        o.stem);
}

template <class Options, class Visit>
void fusion(Options& o, Visit&& visit) {
  visit({"--fusion",
         "none: norm and ReLU are run and counted apart, norm-relu: as one kernel; the same bits. Short for "
         "the switch of --accounting; auto: as that says",
         0, 0, "auto|none|norm-relu"},
        o.fusion);
}

template <class Options, class Visit>
void recompute(Options& o, Visit&& visit) {
  visit({"--recompute",
         "mbs-r: what backward makes again instead of reading what forward stored: cheap = outputs of norms, "
         "ReLUs, pooling and sums; expansions = also of 1x1 convolutions with more outputs than inputs, such "
         "as the last of a bottleneck: less memory for more operations",
         0, 0, "cheap|expansions"},
        o.recompute);
}

template <class Options, class Visit>
void order(Options& o, Visit&& visit) {
  visit({"--buffer",
         "on-chip buffer of one core that sub-batches are planned for: 10MiB, 512KiB, ...; auto: for the "
         "level 2 cache of this machine, with 32-bit features"},
        o.buffer);
  visit({"--accounting", kAccountingHelp}, o.accounting);
  fusion(o, visit);
  recompute(o, visit);
}

template <class Visit>
void cores(ExperimentOptions& o, Visit&& visit) {
  visit({"--batch-size,-b",
         "images of one update (sub-batches, the `subdivisions` of darknet, follow from --buffer)", 1, 1e6},
        o.batch_size);
  visit({"--cores", "data-parallel cores, part of what the result depends on; 0: hardware threads", 0, 4096},
        o.cores);
  visit({"--threads,-j", "threads, never part of the result; 0: one per core", 0, 4096}, o.threads);
  visit({"--kernels",
         "convolution kernels, part of what the result depends on: direct = SIMD, winograd = fewer "
         "multiplications "
         "for 3x3, gemm = im2col and OpenBLAS, auto = the fastest for each layer",
         0, 0, "auto|direct|winograd|gemm"},
        o.kernels);
}

template <class Visit>
void machine(ExperimentOptions& o, Visit&& visit) {
  cores(o, visit);
  visit({"--tune,!--no-tune", "--buffer auto: use what `mbs tune` measured here; never part of the result"},
        o.tune);
  visit({"--machine", "the modelled accelerator: wavecore, or a JSON file (docs/wavecore.md)"}, o.modelled);
}

template <class Visit>
void optimizer(ExperimentOptions& o, Visit&& visit) {
  visit({"--lr,--learning-rate", "highest learning rate", 0, 1000}, o.lr);
  visit({"--lr-schedule", "how it falls", 0, 0, "step|cosine|onecycle|constant"}, o.lr_schedule);
  visit({"--lr-min",
         "cosine, onecycle: where it ends, such as lr / 5 for --ema to average over; 0: next to nothing", 0,
         1000},
        o.lr_min);
  visit({"--milestones",
         "step: epochs after which the learning rate is divided by 10; default: at 1/2 and 3/4"},
        o.milestones);
  visit({"--warmup", "epochs over which the learning rate rises from 0 at the start", 0, 1000}, o.warmup);
  visit({"--momentum", "momentum of SGD", 0, 1}, o.momentum);
  visit({"--nesterov,!--no-nesterov", "Nesterov momentum"}, o.nesterov);
  visit({"--weight-decay,--wd", "weight decay", 0, 1}, o.weight_decay);
  visit({"--wd-norm,!--no-wd-norm", "weight decay also on norm parameters and biases"}, o.wd_norm);
  visit(
      {"--ema",
       "decay of an exponential moving average of the weights, such as 0.999, which is what is evaluated and "
       "kept as best; 0: none",
       0, 0.999999},
      o.ema);
  visit({"--label-smoothing", "share of the target spread over all classes", 0, 1}, o.label_smoothing);
  visit({"--seed", "names every random choice of the run", 0, 9e15}, o.seed);
}

template <class Visit>
void run(TrainOptions& o, Visit&& visit) {
  visit({"--arch,-a,--model", "network: small_cnn, resnet20, resnet50, ... (`mbs plan --help` lists all)"},
        o.experiment.arch);
  visit({"--order", "baseline, il, mbs-fs, mbs1, mbs2 or mbs-r"}, o.experiment.order);
  visit({"--epochs", "times over the training images", 1, 1e6}, o.experiment.epochs);
  visit({"--steps", "stop after N updates instead of --epochs; 0: off", 0, 1e12}, o.experiment.steps);
  visit({"--mirror,!--no-mirror", "count every kernel call in the WaveCore model; never part of the result"},
        o.experiment.mirror);
  visit({"--profile,!--no-profile",
         "print where the time of a step went, at the end; never part of the result"},
        o.experiment.profile);
  visit({"--overfit-batch,!--no-overfit-batch",
         "train on the first batch again and again, without augmentation: a "
         "network and a recipe that work reach a loss near 0"},
        o.experiment.overfit_batch);
  visit({"--target-acc", "exit code 3 unless this test accuracy (0.9 = 90 %) is reached", 0, 1},
        o.target_acc);
  visit({"--log-interval", "steps from one log entry to the next", 1, 1e9}, o.log_interval);
  progress(o.progress, visit);
}

/// What `mbs simulate` and `mbs paper` run on and count by.
template <class Options, class Visit>
void model(Options& o, Visit&& visit) {
  visit({"--machine", "wavecore, or a JSON file (`mbs simulate --print-machine` prints one to start from)"},
        o.machine);
  visit({"--accounting", kAccountingHelp}, o.accounting);
  visit({"--grouping",
         "which blocks share a sub-batch: greedy as published, or the best of all contiguous groupings", 0, 0,
         "greedy|optimal"},
        o.grouping);
  visit({"--overlap",
         "what of array, vector units and DRAM runs side by side: each layer's, the whole step's, or nothing",
         0, 0, "layer|step|none"},
        o.overlap);
}

/// For a command that prints tables.
template <class Options, class Visit>
void formats(Options& o, Visit&& visit) {
  visit({"--json", "print JSON"}, o.json);
  visit({"--csv", "print CSV"}, o.csv);
}

template <class Visit>
void output(Output& o, Visit&& visit) {
  formats(o, visit);
  visit({"--out", "a file that gets the JSON, whatever is printed"}, o.out);
}

}  // namespace option_lists

/// Every option of `mbs train` that a config file may hold: calls visit(OptionInfo, field).
template <class Visit>
void visit_train_options(TrainOptions& o, Visit&& visit) {
  option_lists::run(o, visit);
  option_lists::data(o.experiment, visit);
  option_lists::network(o.experiment, visit);
  option_lists::order(o.experiment, visit);
  option_lists::machine(o.experiment, visit);
  option_lists::optimizer(o.experiment, visit);
}

/// The key of an option: "--arch,-a,--model" -> "arch".
std::string option_key(const OptionInfo& info);

/// Error (usage): a field is outside its range or not one of its choices; the message names the place that
/// it comes from (empty: the command line), the flag, what it was given and what it may be.
void check_value(const OptionInfo& info, double value, const std::string& where = "");
void check_value(const OptionInfo& info, const std::string& value, const std::string& where = "");

/// "10MiB", "512KiB", "1GiB", "1000000" or "4096B" in bytes. Error (usage): anything else.
int64_t parse_bytes(const std::string& text);

}  // namespace mbs
