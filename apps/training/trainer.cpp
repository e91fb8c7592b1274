#include "apps/training/trainer.h"

#include "apps/report/progress.h"

namespace mbs {

Trainer::Trainer(const Experiment& e)
    : experiment_(e),
      state_{initial_params(e.network, static_cast<uint64_t>(e.options.seed)), initial_states(e.network), {}},
      sgd_(e.network, e.sgd_options(), e.options.threads),
      cores_(e.network, e.plan.schedule, e.options.batch_size, e.options.cores, e.options.threads),
      evaluator_(e.network, e.options.threads, &cores_) {
  if (e.options.ema > 0) state_.trained = state_.params;
  if (e.options.mirror)
    simulators_.assign(static_cast<size_t>(e.options.cores),
                       Simulator(e.machine, counting_rules(e.plan.rules), true));
  for (Simulator& simulator : simulators_) mirrors_.push_back(&simulator);
  restart_profile();
}

void Trainer::restart_profile() {
  const ExperimentOptions& options = experiment_.options;
  if (options.profile) profiler_.emplace(experiment_.network, options.cores, options.threads, mirrors_);
}

Profile Trainer::profile() const { return profiler_ ? profiler_->profile() : Profile{}; }

void Trainer::restore(const Checkpoint& checkpoint) {
  mbs::restore(checkpoint, experiment_.network, {state_.params, state_.states, {}});
}

void Trainer::resume(const Checkpoint& checkpoint) {
  mbs::restore(checkpoint, experiment_.network,
               {state_.params, state_.states, sgd_.velocity(), state_.trained});
}

TrainSpans<const real> Trainer::state() const {
  return {state_.params, state_.states, sgd_.velocity(), state_.trained};
}

BatchResult Trainer::step(const LoadedBatch& batch, int64_t step, double lr) {
  const Stopwatch watch;
  for (Simulator& simulator : simulators_) simulator.reset();
  const std::span<Recorder* const> recorders = profiler_ ? profiler_->recorders() : mirrors_;
  const StepKey key{static_cast<uint64_t>(experiment_.options.seed), static_cast<uint64_t>(step)};
  std::vector<real>& weights = averages() ? state_.trained : state_.params;
  const BatchResult result = cores_.step({batch.samples(), batch.images, batch.labels.data()}, key, weights,
                                         state_.states, recorders);
  sgd_.step(weights, cores_.gradients(), lr);
  if (averages())
    move_average(state_.params, weights, average_decay(experiment_.options.ema, step),
                 experiment_.options.threads);
  report(recorders, Stage::optimizer);
  if (profiler_) profiler_->add_step(watch.seconds());
  return result;
}

Evaluation Trainer::evaluate(const Dataset& dataset, std::span<const int> indices) {
  return evaluator_.evaluate(dataset, indices, experiment_.data.normalization, state());
}

StepCost Trainer::modelled_step() const {
  if (simulators_.empty()) return {};
  // Shares differ by a sample at most, and the first one is among the largest.
  StepCost cost = step_cost(experiment_.machine, simulators_.front().work(), Overlap::layer);
  cost.traffic = {};
  for (const Simulator& simulator : simulators_) cost.traffic += simulator.work().traffic;
  return cost;
}

}  // namespace mbs
