#include "apps/commands/cli.h"

#include "apps/options/parser.h"
#include "apps/options/settings.h"
#include "apps/training/run_folder.h"
#include "engine/check.h"
#include "engine/words.h"

namespace mbs {
namespace {

constexpr const char* kOverview =
    R"(mbs trains convolutional networks on the CPU in mini-batch-serialized order.

usage: mbs COMMAND [options]

  demo      train ResNet-20 on Fashion-MNIST in the usual order and in MBS order, and compare
  train     train a network; runs/NAME/ gets its weights, logs and configuration
  eval      accuracy of a run on a part of its data
  predict   classify image files with a run
  compare   the same training in several orders: time, memory, DRAM bytes, and whether the bits agree
  plan      which blocks share a sub-batch, and the DRAM bytes of a step; no data needed
  tune      measure plans of a network on this machine; --buffer auto uses the best from then on
  simulate  DRAM bytes, time and energy of a step on the WaveCore accelerator, modelled; no data needed
  paper     every table and figure of the MBS paper, from the model
  gemm      cycles, utilization and accesses of one matrix product on a systolic array
  bench     this machine's limits, every layer's kernels, whole steps: time, share of the peak
  data      list, get and check data sets
  info      instruction set, threads, BLAS and caches of this machine

examples:
  mbs demo
  mbs train --dataset fashion-mnist --arch resnet20 --order mbs2 --epochs 10
  mbs plan resnet50 --order mbs2 --batch-size 32 --buffer 10MiB

`mbs COMMAND --help` shows the options of a command.
)";

/// The options that come from elsewhere: a recipe, a config file, a run that is resumed.
struct Sources {
  std::string recipe, config, resume;
};

void add_train(Parser& parser, TrainOptions& options, Sources& sources) {
  parser.app().add_option(
      "--recipe", sources.recipe,
      "preset that other flags override: he2016 (He et al. 2015 on CIFAR), fast (30 epochs), demo "
      "(resnet8, 10,000 images, 3 epochs)");
  parser.app().add_option("--config", sources.config,
                          "options from a TOML file, such as config.toml of a run");
  parser.app()
      .add_option("--resume", sources.resume, "go on with a run: its folder, its name under runs/, or last")
      ->expected(0, 1)
      ->default_str("last");
  parser.app().add_option("--out", options.out,
                          "run folder; default runs/ARCH-DATASET-ORDER, never overwritten");
  parser({"--seeds", "train N times with seeds SEED, SEED+1, ...; prints mean and range", 1, 1000},
         options.seeds);
  visit_train_options(options, parser);
}

Parser make_train_parser() {
  return {"train", "Trains a network.",
          "  mbs train --dataset fashion-mnist --arch resnet20 --epochs 10\n"
          "  mbs train --dataset folder --data-dir my-images --recipe fast --target-acc 0.9\n"
          "  mbs train --resume last --epochs 20\n"};
}

Command parse_train(const std::vector<std::string>& arguments) {
  // First for the sources of options, then on top of what they say.
  TrainOptions first, options;
  Sources sources;
  {
    Parser parser = make_train_parser();
    add_train(parser, first, sources);
    if (parser.parse(arguments)) return parser.help();
  }
  if (!sources.recipe.empty()) apply_settings(recipe(sources.recipe), options);
  const auto apply_file = [&](const std::string& path) {
    apply_settings(parse_toml(read_text_file(path), path), options);
  };
  if (!sources.config.empty()) apply_file(sources.config);
  if (!sources.resume.empty()) apply_file(find_run(sources.resume) + "/config.toml");
  Parser parser = make_train_parser();
  add_train(parser, options, sources);
  parser.parse(arguments);
  options.resume = sources.resume;
  return options;
}

Command parse_eval(const std::vector<std::string>& arguments) {
  EvalOptions o;
  Parser parser(
      "eval", "Accuracy of a run's weights.",
      "  mbs eval runs/resnet20-fashion-mnist-mbs2\n  mbs eval last --split val --checkpoint last --json\n");
  parser.app().add_option("run", o.run, "run folder, its name under runs/, or last")->required();
  parser({"--split", "part of the data", 0, 0, "test|val|train"}, o.split);
  parser({"--checkpoint", "which weights", 0, 0, "best|last"}, o.checkpoint);
  parser({"--data-dir", "where the data is now, if it moved"}, o.data_dir);
  parser({"--mirrored", "average the probabilities of every image and of its mirror image"}, o.mirrored);
  parser({"--threads,-j", "threads; 0: all", 0, 4096}, o.threads);
  parser({"--json", "print JSON"}, o.json);
  if (parser.parse(arguments)) return parser.help();
  return o;
}

Command parse_predict(const std::vector<std::string>& arguments) {
  PredictOptions o;
  Parser parser("predict", "The five most probable classes of image files.",
                "  mbs predict runs/resnet20-fashion-mnist-mbs2 shoe.png\n  mbs predict last *.jpg --json\n");
  parser.app().add_option("run", o.run, "run folder, its name under runs/, or last")->required();
  parser.app().add_option("images", o.images, "image files (jpg, png, bmp, ppm, pgm)")->required();
  parser({"--checkpoint", "which weights", 0, 0, "best|last"}, o.checkpoint);
  parser({"--json", "print JSON"}, o.json);
  if (parser.parse(arguments)) return parser.help();
  return o;
}

Command parse_plan(const std::vector<std::string>& arguments) {
  PlanCliOptions o;
  Parser parser("plan", "The groups of blocks that share a sub-batch, and the DRAM bytes of a training step.",
                "  mbs plan resnet50 --order mbs2 --batch-size 32 --buffer 10MiB\n  mbs plan resnet20 "
                "--order mbs1 --json\n" +
                    network_list());
  parser.app().add_option("network,--arch,-a,--model", o.arch, "network");
  parser({"--order", "baseline, il, mbs-fs, mbs1, mbs2 or mbs-r"}, o.order);
  parser({"--grouping",
          "which blocks share a sub-batch: greedy as published, or the best of all contiguous groupings", 0,
          0, "greedy|optimal"},
         o.grouping);
  parser({"--batch-size,-b", "images of one update", 1, 1e6}, o.batch_size);
  parser({"--cores", "data-parallel cores that share the batch", 1, 4096}, o.cores);
  parser({"--classes", "classes; 0: 10, or 1000 for an ImageNet network", 0, 1e6}, o.classes);
  parser({"--image-size", "height and width; 0: as the network was published", 0, 4096}, o.image_size);
  option_lists::order(o, parser);
  option_lists::network(o, parser);
  parser({"--json", "print JSON"}, o.json);
  parser({"--csv", "print CSV"}, o.csv);
  if (parser.parse(arguments)) return parser.help();
  if (o.arch.empty())
    fail_usage("mbs plan needs the name of a network, such as resnet50; `mbs plan --help` lists them");
  return o;
}

Command parse_compare(const std::vector<std::string>& arguments) {
  CompareOptions o;
  o.experiment.steps = 20;
  Parser parser(
      "compare",
      "The same training in several orders, each in a process of its own: time, memory, modelled DRAM bytes, "
      "loss, "
      "and whether the weights are bit-identical after every step (exit code 1 if not).",
      "  mbs compare --arch resnet20 --dataset fashion-mnist --orders baseline,mbs1,mbs2 --steps 20\n"
      "  mbs compare --epochs 2 --limit-train 6000 --with-bn --json\n");
  parser({"--orders", "orders, separated by commas: baseline, il, mbs-fs, mbs1, mbs2, mbs-r"}, o.orders);
  parser({"--arch,-a,--model", "network"}, o.experiment.arch);
  parser({"--steps", "updates to compare", 1, 1e9}, o.experiment.steps);
  parser({"--epochs", "whole epochs instead of --steps, with validation after each", 1, 1e6},
         o.experiment.epochs);
  parser(
      {"--with-bn,!--no-with-bn", "one more run with batch norm in baseline order, no part of the verdict"},
      o.with_bn);
  parser({"--progress", "bar, plain or none; auto: bar on a terminal", 0, 0, "auto|bar|plain|none"},
         o.progress);
  parser({"--json", "print JSON"}, o.json);
  parser({"--csv", "print CSV"}, o.csv);
  option_lists::data(o.experiment, parser);
  option_lists::network(o.experiment, parser);
  option_lists::order(o.experiment, parser);
  option_lists::machine(o.experiment, parser);
  option_lists::optimizer(o.experiment, parser);
  if (parser.parse(arguments)) return parser.help();
  o.by_epochs = parser.app().count("--epochs") > 0;
  if (o.by_epochs && parser.app().count("--steps") > 0) fail_usage("give --steps or --epochs, not both");
  return o;
}

Command parse_tune(const std::vector<std::string>& arguments) {
  TuneOptions o;
  ExperimentOptions& e = o.experiment;
  e.arch.clear();
  Parser parser(
      "tune",
      "Measures plans of a network on this machine, a few steps of each in turn on synthetic images, "
      "and keeps the best of each order for --buffer auto. Bits never depend on it.",
      "  mbs tune resnet20\n  mbs tune resnet50 --batch-size 16 --rounds 2\n"
      "  mbs tune resnet18 --stem cifar --orders mbs2,mbs-r --buffers 512KiB,1MiB --json\n" +
          network_list());
  parser.app().add_option("network,--arch,-a,--model", e.arch, "network");
  parser({"--orders", "orders, separated by commas: il, mbs-fs, mbs1, mbs2, mbs-r"}, o.orders);
  parser({"--groupings", "ways to group, separated by commas: greedy, optimal"}, o.groupings);
  parser(
      {"--buffers", "buffers, separated by commas; default: from 1/8 of the level 2 cache to 8 times that"},
      o.buffers);
  parser({"--steps", "steps of one measurement, after one that is not counted; 0: a second's worth", 0, 1000},
         o.steps);
  parser({"--rounds", "measurements of a plan that stays in the race", 1, 100}, o.rounds);
  parser({"--image-size", "height and width; 0: what the network usually takes", 0, 1024}, e.image_size);
  option_lists::cores(e, parser);
  option_lists::network(e, parser);
  option_lists::fusion(e, parser);
  parser({"--out", "file to keep the best in; default: $MBS_TUNE, or mbs/tune.json in ~/.config"}, o.out);
  parser({"--progress", "bar, plain or none; auto: bar on a terminal", 0, 0, "auto|bar|plain|none"},
         o.progress);
  parser({"--json", "print JSON"}, o.json);
  parser({"--csv", "print CSV"}, o.csv);
  if (parser.parse(arguments)) return parser.help();
  if (e.arch.empty())
    fail_usage("mbs tune needs the name of a network, such as resnet20; `mbs tune --help` lists them");
  return o;
}

Command parse_data(const std::vector<std::string>& arguments) {
  DataOptions o;
  Parser parser(
      "data", "Lists, gets and checks data sets.",
      "  mbs data list\n  mbs data get cifar10\n  mbs data get cifar10 --file ~/cifar-10-binary.tar.gz\n"
      "  mbs data check fashion-mnist\n  mbs data check folder --data-dir my-images\n");
  parser.app().add_option("action", o.action, "list, get or check")->required();
  parser.app().add_option("name", o.name, "data set");
  parser({"--data-dir", "where it is, or is to be put"}, o.dir);
  parser({"--file", "get: a file of this machine instead of a download"}, o.file);
  parser({"--image-size", "check: height and width that images are brought to; 0: the usual one", 0, 1024},
         o.image_size);
  parser({"--json", "print JSON"}, o.json);
  if (parser.parse(arguments)) return parser.help();
  if (o.action != "list" && o.action != "get" && o.action != "check")
    fail_usage("mbs data does not know '{}'; it can list, get and check", o.action);
  if (o.action != "list" && o.name.empty())
    fail_usage("mbs data {} needs the name of a data set (`mbs data list`)", o.action);
  return o;
}

Command parse_info(const std::vector<std::string>& arguments) {
  InfoOptions o;
  Parser parser("info", "What this machine is.", "  mbs info\n  mbs info --json\n");
  parser({"--json", "print JSON"}, o.json);
  if (parser.parse(arguments)) return parser.help();
  return o;
}

Command parse_demo(const std::vector<std::string>& arguments) {
  DemoOptions o;
  Parser parser(
      "demo",
      "Trains ResNet-20 on a part of Fashion-MNIST in the usual order and in MBS order, and compares.",
      "  mbs demo\n  mbs demo --progress plain\n");
  parser({"--progress", "bar, plain or none; auto: bar on a terminal", 0, 0, "auto|bar|plain|none"},
         o.progress);
  parser({"--threads,-j", "threads; 0: all", 0, 4096}, o.threads);
  if (parser.parse(arguments)) return parser.help();
  return o;
}

}  // namespace

Command parse_command_line(const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help")
    return HelpText{kOverview};
  using Parse = Command (*)(const std::vector<std::string>&);
  const std::vector<std::pair<std::string, Parse>> commands = {
      {"train", parse_train}, {"eval", parse_eval}, {"predict", parse_predict},   {"compare", parse_compare},
      {"plan", parse_plan},   {"tune", parse_tune}, {"simulate", parse_simulate}, {"paper", parse_paper},
      {"gemm", parse_gemm},   {"data", parse_data}, {"info", parse_info},         {"demo", parse_demo},
      {"bench", parse_bench}};
  std::vector<std::string> names;
  for (const auto& [name, parse] : commands) {
    if (arguments[0] == name) return parse({arguments.begin() + 1, arguments.end()});
    names.push_back(name);
  }
  fail_usage("there is no command '{}'{}; `mbs` alone lists them", arguments[0],
             nearest_hint(arguments[0], names));
}

}  // namespace mbs
