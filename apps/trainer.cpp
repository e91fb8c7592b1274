#include "apps/trainer.h"

#include <algorithm>

#include "apps/progress.h"
#include "engine/check.h"

namespace mbs {
namespace {

constexpr int kEvaluationSubBatch = 16, kEvaluationShare = 64;

}  // namespace

Evaluator::Evaluator(const Network& network, int threads)
    : network_(network),
      batch_(kEvaluationShare * threads),
      cores_(network, forward_only(network, kEvaluationShare, kEvaluationSubBatch), batch_, threads,
             threads) {}

Evaluation Evaluator::evaluate(const Dataset& dataset, std::span<const int> indices,
                               const Normalization& normalization, const TrainState& state) {
  Evaluation mean;
  if (indices.empty()) return mean;
  LoaderOptions options;
  options.batch_size = batch_;
  options.shuffle = options.drop_last = false;
  Loader loader(dataset, {indices.begin(), indices.end()}, normalization, options);
  loader.start(0);
  int64_t correct = 0;
  while (const auto batch = loader.next()) {
    const BatchResult result =
        cores_.evaluate({batch->samples(), batch->images, batch->labels.data()}, state.params, state.states);
    mean.loss += result.loss_sum;
    correct += result.correct;
    mean.samples += batch->samples();
  }
  mean.loss /= static_cast<double>(mean.samples);
  mean.accuracy = static_cast<double>(correct) / static_cast<double>(mean.samples);
  return mean;
}

std::vector<real> Evaluator::probabilities(std::span<const real> images, int samples,
                                           const TrainState& state) {
  CHECK(samples <= batch_, "{} samples are more than {}", samples, batch_);
  const int64_t classes =
      network_.tensor(network_.output()).shape.elems() - 1;  // the first value is the loss
  std::vector<real> probabilities(static_cast<size_t>(samples * classes));
  const std::vector<int> unknown(static_cast<size_t>(samples), -1);
  cores_.evaluate({samples, images.data(), unknown.data()}, state.params, state.states, probabilities);
  return probabilities;
}

Trainer::Trainer(const Experiment& e)
    : experiment_(e),
      state_{initial_params(e.network, static_cast<uint64_t>(e.options.seed)), initial_states(e.network), {}},
      sgd_(e.network, e.sgd_options(), e.options.threads),
      cores_(e.network, e.plan.schedule, e.options.batch_size, e.options.cores, e.options.threads),
      evaluator_(e.network, e.options.threads) {
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

void Trainer::restore(TrainState state) {
  CHECK(state.velocity.size() == state_.params.size(), "a checkpoint without momentum");
  std::copy(state.velocity.begin(), state.velocity.end(), sgd_.velocity().begin());
  state.velocity.clear();
  state_ = std::move(state);
}

TrainState Trainer::state() const {
  TrainState state = state_;
  state.velocity.assign(sgd_.velocity().begin(), sgd_.velocity().end());
  return state;
}

BatchResult Trainer::step(const LoadedBatch& batch, int64_t step, double lr) {
  const Stopwatch watch;
  for (Simulator& simulator : simulators_) simulator.reset();
  const std::span<Recorder* const> recorders = profiler_ ? profiler_->recorders() : mirrors_;
  const StepKey key{static_cast<uint64_t>(experiment_.options.seed), static_cast<uint64_t>(step)};
  const BatchResult result = cores_.step({batch.samples(), batch.images, batch.labels.data()}, key,
                                         state_.params, state_.states, recorders);
  sgd_.step(state_.params, cores_.gradients(), lr);
  for (Recorder* recorder : recorders) recorder->on_stage(Stage::optimizer);
  if (profiler_) profiler_->add_step(watch.seconds());
  return result;
}

Evaluation Trainer::evaluate(const Dataset& dataset, std::span<const int> indices) {
  return evaluator_.evaluate(dataset, indices, experiment_.data.normalization, state_);
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
