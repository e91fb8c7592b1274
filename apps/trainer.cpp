#include "apps/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "apps/progress.h"
#include "engine/check.h"

namespace mbs {
namespace {

/// Samples that a thread evaluates at a time: as many as of 32x32x3 in memory, but enough of large images to
/// be worth preparing the weights for.
int evaluation_share(const Network& network) {
  constexpr int64_t kElems = int64_t{64} * 32 * 32 * 3, kFewest = 8, kMost = 64;
  const int64_t image = network.tensor(network.input()).shape.elems();
  return static_cast<int>(std::clamp(kElems / image, kFewest, kMost));
}

constexpr int kSubBatchesOfShare = 4;

}  // namespace

Evaluator::Evaluator(const Network& network, int threads, const DataParallel* lender)
    : network_(network),
      share_(evaluation_share(network)),
      batch_(share_ * threads),
      cores_(network, forward_only(network, share_, share_ / kSubBatchesOfShare), batch_, threads, threads,
             lender) {}

Evaluation Evaluator::evaluate(const Dataset& dataset, std::span<const int> indices,
                               const Normalization& normalization, const TrainSpans<const real>& state,
                               bool mirrored) {
  Evaluation mean;
  if (indices.empty()) return mean;
  LoaderOptions options;
  options.batch_size = batch_;
  options.shuffle = options.drop_last = false;
  Loader loader(dataset, {indices.begin(), indices.end()}, normalization, options);
  loader.start(0);
  int64_t correct = 0;
  while (const auto batch = loader.next()) {
    const BatchResult result = mirrored
                                   ? evaluate_mirrored(*batch, state)
                                   : cores_.evaluate({batch->samples(), batch->images, batch->labels.data()},
                                                     state.params, state.states);
    mean.loss += result.loss_sum;
    correct += result.correct;
    mean.samples += batch->samples();
  }
  mean.loss /= static_cast<double>(mean.samples);
  mean.accuracy = static_cast<double>(correct) / static_cast<double>(mean.samples);
  return mean;
}

BatchResult Evaluator::evaluate_mirrored(const LoadedBatch& batch, const TrainSpans<const real>& state) {
  const Shape shape = network_.tensor(network_.input()).shape;
  std::vector<real> images(batch.images, batch.images + batch.samples() * shape.elems());
  std::vector<real> mean = probabilities(images, batch.samples(), state);
  for (size_t row = 0; row < images.size(); row += static_cast<size_t>(shape.w * shape.c))
    mirror_row(shape.w, shape.c, &images[row]);
  const std::vector<real> mirrored = probabilities(images, batch.samples(), state);
  for (size_t i = 0; i < mean.size(); ++i) mean[i] = (mean[i] + mirrored[i]) / 2;

  BatchResult result;
  const size_t classes = mean.size() / batch.labels.size();
  const real* p = mean.data();
  for (const int label : batch.labels) {
    result.loss_sum -= std::log(static_cast<double>(std::max(p[label], std::numeric_limits<real>::min())));
    result.correct += names_label({p, classes}, label);
    p += classes;
  }
  return result;
}

std::vector<real> Evaluator::probabilities(std::span<const real> images, int samples,
                                           const TrainSpans<const real>& state) {
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
  for (Recorder* recorder : recorders) recorder->on_stage(Stage::optimizer);
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
