// `mbs demo`: the main job in a few minutes.
#include <fmt/format.h>

#include "apps/commands/command.h"
#include "apps/report/number_text.h"
#include "apps/resolve/machine_info.h"
#include "apps/training/lockstep.h"

namespace mbs {
namespace {

struct DemoOptions {
  std::string progress = "auto";
  int threads = 0;
};

/// ResNet-20 on a part of Fashion-MNIST: small enough for two slow cores to train it twice in under five
/// minutes.
CompareOptions demo_options(const DemoOptions& given) {
  CompareOptions options;
  options.orders = {"baseline", "mbs2"};
  options.by_epochs = true;
  ExperimentOptions& e = options.experiment;
  e.arch = "resnet20";
  e.dataset = "fashion-mnist";
  e.limit_train = 6400;
  e.val_share = 0.03;
  e.aug = "none";
  e.batch_size = 64;
  e.epochs = 4;
  e.lr = 0.1;
  e.lr_schedule = "onecycle";
  e.nesterov = true;
  e.threads = given.threads;
  return options;
}

int run_demo(const DemoOptions& given) {
  const CompareOptions options = demo_options(given);
  const ExperimentOptions& e = options.experiment;
  Display display(given.progress, stdout);
  const MachineInfo machine = machine_info();
  display.line(fmt::format(
      "{} with group norm on {} images of {}, {} epochs, seed {}, trained twice at the same time:\n"
      "  baseline  the usual order, every layer over the whole batch\n"
      "  mbs2      mini-batch-serialized order: groups of blocks over sub-batches that stay in a core's "
      "cache\n"
      "on {}, {} hardware threads. {} other images of the training part validate.\n",
      e.arch, thousands(e.limit_train), e.dataset, e.epochs, e.seed, machine.isa, machine.hardware_threads,
      percent(e.val_share)));
  const Comparison comparison = compare_orders(options, display);
  const OrderResult &baseline = comparison.runs[0], &serialized = comparison.runs[1];
  display.line(
      fmt::format("\n{}{}\n{}.", order_table(comparison), buffer_notes(comparison), verdict(comparison)));
  display.line(
      fmt::format("In MBS order a step moves {:.0f} % less DRAM traffic in the model, and here it took "
                  "{:.2f} times as long.",
                  100 * (1 - static_cast<double>(serialized.dram.total_bytes()) /
                                 static_cast<double>(baseline.dram.total_bytes())),
                  serialized.seconds_per_step / baseline.seconds_per_step));
  display.line("Next: mbs train --arch resnet20 --epochs 15; mbs compare --help; mbs plan resnet50");
  return comparison.identical() ? 0 : 1;
}

class Demo final : public Command {
  DemoOptions o_;

  void declare(Parser& parser) override {
    option_lists::progress(o_.progress, parser);
    parser({"--threads,-j", "threads; 0: all", 0, 4096}, o_.threads);
  }

  int run() override { return run_demo(o_); }
};

}  // namespace

COMMAND(demo, Demo, "train ResNet-20 on Fashion-MNIST in the usual order and in MBS order, and compare",
        "Trains ResNet-20 on a part of Fashion-MNIST in the usual order and in MBS order, and compares.",
        "  mbs demo\n  mbs demo --progress plain\n")

}  // namespace mbs
