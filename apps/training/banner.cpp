#include "apps/training/banner.h"

#include <fmt/format.h>

#include "apps/report/number_text.h"
#include "apps/resolve/machine_info.h"

namespace mbs {
namespace {

std::string describe_data(const Experiment& e) {
  const Dataset& train = e.data.splits.train;
  const auto& used = e.data.held_out.train;
  const auto left_out = static_cast<int64_t>(used.size()) % e.options.batch_size;
  std::string text = fmt::format(
      "data      {}\n"
      "          {} training, {} validation (held out of the training part), {} test images; {} classes, "
      "{}x{}x{}\n",
      train.source, thousands(static_cast<int64_t>(used.size())),
      thousands(static_cast<int64_t>(e.data.held_out.validation.size())),
      thousands(e.data.splits.test.count()), train.classes(), train.shape.h, train.shape.w, train.shape.c);
  const Normalization& norm = e.data.normalization;
  text += fmt::format("          mean {}, deviation {} (of the training part)", decimals(norm.mean),
                      decimals(norm.stddev));
  if (train.border > 0) text += fmt::format("; {} black pixels added on each side", train.border);
  if (left_out > 0) text += fmt::format("; {} images of an epoch fill no batch and sit out", left_out);
  text += "\n";
  for (const std::string& note : e.data.splits.notes) text += "          " + note + "\n";
  return text;
}

}  // namespace

int64_t forward_macs(const Network& network) {
  int64_t macs = 0;
  for (const Node& node : network.nodes())
    for (const GemmShape& gemm : node.layer->gemms(Phase::forward, 1, node.wants_dx)) macs += gemm.macs();
  return macs;
}

std::string banner(const Experiment& e, int64_t planned_bytes) {
  const MachineInfo machine = machine_info();
  const ExperimentOptions& o = e.options;
  std::string text = fmt::format("machine   {}{}; {} hardware threads, {} used for {} cores; {}\n",
                                 machine.isa, machine.processor.empty() ? "" : " (" + machine.processor + ")",
                                 machine.hardware_threads, o.threads, o.cores, machine.blas);
  text += describe_data(e);
  text +=
      fmt::format("network   {}: {} parameters, {:.1f} M multiply-accumulates an image\n", e.network.name(),
                  thousands(e.network.parameter_count()), static_cast<double>(forward_macs(e.network)) / 1e6);
  text += fmt::format(
      "training  batch {}, {} steps of {} an epoch, lr {} {}, momentum {}{}, weight decay {}{}, seed {}\n",
      o.batch_size, thousands(e.total_steps()), thousands(e.steps_per_epoch()), o.lr, o.lr_schedule,
      o.momentum, o.nesterov ? " (Nesterov)" : "", o.weight_decay,
      o.ema > 0 ? fmt::format(", moving average {}", o.ema) : "", o.seed);
  text += fmt::format("order     {}, buffer {} a core, {} samples a core; {} of memory planned\n", o.order,
                      binary_bytes(e.plan.buffer_bytes), e.plan.schedule.batch, binary_bytes(planned_bytes));
  if (!e.buffer_note.empty()) text += "          " + e.buffer_note + "\n";
  if (e.plan.order != Order::baseline) {
    const std::string groups = group_table(e.network, e.plan);
    for (size_t begin = 0; begin < groups.size();) {
      const size_t end = std::min(groups.find('\n', begin), groups.size());
      text += "          " + groups.substr(begin, end - begin) + "\n";
      begin = end + 1;
    }
  }
  const Traffic predicted = predicted_step_traffic(e.network, e.plan, o.batch_size, o.cores);
  text += fmt::format("          {} of DRAM traffic a step in the WaveCore model ({} counting)",
                      decimal_bytes(predicted.total_bytes()), e.plan.rules.name);
  return text;
}

}  // namespace mbs
