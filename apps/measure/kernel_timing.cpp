#include "apps/measure/kernel_timing.h"

#include <algorithm>

#include "apps/measure/repetition.h"
#include "apps/system/median.h"
#include "engine/check.h"
#include "engine/dataflow.h"
#include "layers/shapes.h"

namespace mbs {
namespace {

using Gradients = LayerRun::Gradients;

int sub_batch_of(const Plan& plan, int block) {
  for (const Group& group : plan.groups)
    if (group.first_block <= block && block <= group.last_block) return group.sub_batch;
  return plan.schedule.batch;
}

/// A kernel that is to be timed: what it is, and one call of it.
struct Kernel {
  KernelTime time;
  void (*call)(LayerRun&);
};

/// Times the kernels in turn, about 5 ms of each a round, so that a disturbance does not fall on one alone. A
/// measurement during which something else ran on our processors is made again, a few times.
void time_in_turn(std::vector<std::unique_ptr<LayerRun>>& runs, std::vector<Kernel>& kernels) {
  constexpr size_t kMeasurements = 9;
  constexpr int kMostRounds = 27;
  constexpr double kSeconds = 0.005;
  const int threads = static_cast<int>(runs.size());
  const auto repeat = [](const Kernel& kernel, LayerRun& run, int64_t times) {
    for (int64_t i = 0; i < times; ++i) kernel.call(run);
  };
  const auto taken = [&](const Kernel& kernel, int64_t times) {
    return timed(threads, [&](int t) { repeat(kernel, *runs[static_cast<size_t>(t)], times); });
  };
  std::vector<int64_t> times;
  for (const Kernel& kernel : kernels)
    times.push_back(repetitions(kSeconds, [&](int64_t n) { repeat(kernel, *runs[0], n); }));
  std::vector<std::vector<double>> quiet(kernels.size()), all(kernels.size());
  for (int round = 0; round < kMostRounds; ++round)
    for (size_t k = 0; k < kernels.size(); ++k) {
      if (quiet[k].size() == kMeasurements) continue;
      const CpuClock clock;
      const double seconds = taken(kernels[k], times[k]), call = seconds / static_cast<double>(times[k]);
      all[k].push_back(call);
      if (clock.seconds() > 0.97 * seconds * threads) quiet[k].push_back(call);
    }
  for (size_t k = 0; k < kernels.size(); ++k) {
    const std::vector<double>& used = quiet[k].size() > kMeasurements / 2 ? quiet[k] : all[k];
    kernels[k].time.seconds = median(used);
    kernels[k].time.best_seconds = *std::min_element(used.begin(), used.end());
  }
}

void check_residual(const LayerCase& c, const std::string& pass, const std::optional<double>& residual) {
  if (!residual || *residual <= kResidualLimit) return;
  fail(
      "{} of layer '{}' on {} is wrong: its largest error against double precision "
      "is "
      "{:.2g} of the largest value, and {:.0e} is allowed; no time is printed for it. Try other --kernels, "
      "and "
      "please report this",
      pass, c.spec, to_text(c.layer->in_shapes()), *residual, kResidualLimit);
}

}  // namespace

std::vector<LayerCase> distinct_layers(const Network& network, const Plan& plan, int samples) {
  const Dataflow flow(network);
  std::vector<LayerCase> cases;
  for (NodeId n = 0; n < network.node_count(); ++n) {
    const Node& node = network.node(n);
    const auto same = [&](const LayerCase& c) {
      return c.spec == node.spec && c.wants_dx == node.wants_dx && c.has_backward == flow.has_backward(n) &&
             std::ranges::equal(c.layer->in_shapes(), node.layer->in_shapes());
    };
    auto found = std::find_if(cases.begin(), cases.end(), same);
    if (found == cases.end()) {
      const int calls = samples > 0 ? samples : sub_batch_of(plan, node.block);
      cases.push_back({node.spec, node.layer, node.wants_dx, flow.has_backward(n), calls, 0});
      found = cases.end() - 1;
    }
    found->count++;
  }
  return cases;
}

std::vector<KernelTime> time_layer(const LayerCase& c, int threads) {
  std::vector<std::unique_ptr<LayerRun>> runs(static_cast<size_t>(threads));
  parallel_for(threads, threads, [&](int t) {
    runs[static_cast<size_t>(t)] = std::make_unique<LayerRun>(c.layer, c.samples, c.wants_dx);
  });
  const Residuals residuals = measure_residuals(c.spec, *runs[0], c.has_backward);
  // The others' aux must hold what backward reads.
  parallel_for(threads, threads, [&](int t) { runs[static_cast<size_t>(t)]->forward(); });

  double flops = 0;
  for (const GemmShape& gemm : c.layer->gemms(Phase::forward, c.samples, c.wants_dx))
    flops += 2. * static_cast<double>(gemm.macs()) * threads;
  std::vector<Kernel> kernels;
  const auto add = [&](KernelTime time, void (*call)(LayerRun&)) {
    check_residual(c, time.pass, time.residual);
    kernels.push_back({std::move(time), call});
  };
  const auto compute = [&](const std::string& pass, const std::optional<double>& residual,
                           void (*call)(LayerRun&)) {
    add({.pass = pass, .flops = flops, .residual = residual}, call);
  };
  const auto move = [&](const std::string& pass, int64_t bytes, const std::optional<double>& residual,
                        bool per_step, void (*call)(LayerRun&)) {
    const auto moved = static_cast<double>(bytes * threads);
    add({.pass = pass, .bytes = moved, .residual = residual, .per_step = per_step}, call);
  };
  const auto forward = [](LayerRun& run) { run.forward(); };
  const LayerRun& run = *runs[0];
  if (flops > 0) {
    compute("forward", residuals.y, forward);
    if (c.has_backward && c.wants_dx)
      compute("data", residuals.dx, [](LayerRun& r) { r.backward(Gradients::data); });
    if (c.has_backward)
      compute("weights", residuals.dparams, [](LayerRun& r) { r.backward(Gradients::weights); });
  } else {
    move("forward", run.forward_bytes(), residuals.y, false, forward);
    if (c.has_backward)
      move("backward", run.backward_bytes(), std::max(residuals.dx, residuals.dparams), false,
           [](LayerRun& r) { r.backward(Gradients::all); });
  }
  if (run.prepares()) move("prepare", run.prepare_bytes(), {}, true, [](LayerRun& r) { r.prepare(); });
  if (run.accumulates())
    move("finish", run.finish_bytes(), {}, true, [](LayerRun& r) { r.finish_gradients(); });
  time_in_turn(runs, kernels);
  std::vector<KernelTime> times;
  for (Kernel& kernel : kernels) times.push_back(std::move(kernel.time));
  return times;
}

}  // namespace mbs
