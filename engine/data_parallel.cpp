#include "engine/data_parallel.h"

#include <algorithm>
#include <cmath>

#include "engine/check.h"
#include "engine/executor.h"
#include "engine/parallel.h"

namespace mbs {

bool names_label(std::span<const real> probabilities, int label) {
  return std::max_element(probabilities.begin(), probabilities.end()) - probabilities.begin() == label;
}

Share core_share(int samples, int cores, int core) {
  const auto cut = [&](int c) { return static_cast<int>(int64_t{samples} * c / cores); };
  return {cut(core), cut(core + 1)};
}

void check_shares(int batch, int cores) {
  if (batch < cores)
    fail_usage(
        "a batch of {} samples cannot be shared by {} cores: give --batch-size {} or more, or --cores {} or "
        "fewer",
        batch, cores, cores, batch);
}

namespace {

CoreBatch core_batch(const Network& network, const Batch& batch, int cores, int core) {
  const Share share = core_share(batch.samples, cores, core);
  const int64_t image_elems = network.tensor(network.input()).shape.elems();
  return {share.size(), share.begin, batch.samples, batch.images + image_elems * share.begin,
          batch.labels + share.begin};
}

}  // namespace

DataParallel::DataParallel(const Network& network, const Schedule& schedule, int batch, int cores,
                           int threads, const DataParallel* lender)
    : network_(network),
      batch_(batch),
      threads_(std::min(threads, cores)),
      weights_(lender != nullptr ? lender->weights_ : std::make_shared<WeightStandardization>(network)),
      prepared_(lender != nullptr ? lender->prepared_
                                  : std::shared_ptr<NodeArrays>(new NodeArrays(prepared_arrays(network)))) {
  CHECK(lender == nullptr || &lender->network_ == &network, "memory lent by another network");
  check_shares(batch, cores);
  CHECK(schedule.batch == (batch + cores - 1) / cores, "a schedule of {} samples for {} on {} cores",
        schedule.batch, batch, cores);
  CHECK(network.has_loss(), "network '{}' does not end in a loss", network.name());
  training_ = schedule.passes.back().phase == Phase::backward;
  for (int c = 0; c < cores; ++c) {
    const bool lent = lender != nullptr && c < lender->cores();
    const Executor* executor = lent ? lender->cores_[static_cast<size_t>(c)].get() : nullptr;
    cores_.push_back(std::make_unique<Executor>(network, schedule, executor));
    if (training_) core_gradients_.emplace_back(static_cast<size_t>(network.param_array_elems()));
  }
}

DataParallel::~DataParallel() = default;

BatchResult DataParallel::step(const Batch& batch, const StepKey& key, std::span<const real> params,
                               std::span<real> states, std::span<Recorder* const> recorders) {
  CHECK(batch.samples >= cores() && batch.samples <= batch_, "{} samples in a batch of {} on {} cores",
        batch.samples, batch_, cores());
  report(recorders, Stage::begin);
  const Parameters parameters{prepare(params), states, *prepared_};
  report(recorders, Stage::prepare);
  parallel_for(cores(), threads_, [&](int c) {
    const auto i = static_cast<size_t>(c);
    if (!recorders.empty()) recorders[i]->on_stage(Stage::enter);
    std::fill(core_gradients_[i].begin(), core_gradients_[i].end(), real{0});
    cores_[i]->run(core_batch(network_, batch, cores(), c), key, parameters, core_gradients_[i],
                   recorders.empty() ? nullptr : recorders[i]);
  });
  report(recorders, Stage::leave);
  const BatchResult result = collect(batch, {});
  if (!std::isfinite(result.loss_sum)) report_nonfinite(batch, key, parameters);
  report(recorders, Stage::loss);
  sum_gradients();
  weights_->to_gradients(core_gradients_[0], threads_);
  update_states(batch.samples, states);
  report(recorders, Stage::sum);
  return result;
}

BatchResult DataParallel::evaluate(const Batch& batch, std::span<const real> params,
                                   std::span<const real> states, std::span<real> probabilities) {
  CHECK(batch.samples >= 1 && batch.samples <= batch_, "{} samples in a batch of {}", batch.samples, batch_);
  const Parameters parameters{prepare(params), states, *prepared_};
  parallel_for(cores(), threads_, [&](int c) {
    const CoreBatch share = core_batch(network_, batch, cores(), c);
    if (share.samples > 0) cores_[static_cast<size_t>(c)]->run(share, {}, parameters, {}, nullptr);
  });
  return collect(batch, probabilities);
}

// The parameters as layers read them, and what layers prepare of them.
std::span<const real> DataParallel::prepare(std::span<const real> trained) {
  const std::span<const real> params = weights_->apply(trained, threads_);
  const std::vector<NodeId>& nodes = prepared_->nodes();
  parallel_for(static_cast<int>(nodes.size()), threads_, [&](int i) {
    const NodeId n = nodes[static_cast<size_t>(i)];
    const Node& node = network_.node(n);
    std::vector<const real*> of_node;
    for (int p = node.first_param; p < node.first_param + node.params; ++p)
      of_node.push_back(params.data() + network_.params()[static_cast<size_t>(p)].offset);
    node.layer->prepare(of_node, training_ && node.wants_dx, prepared_->of(n));
  });
  return params;
}

int64_t DataParallel::planned_bytes() const {
  int64_t bytes = prepared_->bytes();
  for (const auto& core : cores_) bytes += core->planned_bytes();
  return bytes;
}

// Sums the losses in sample order.
BatchResult DataParallel::collect(const Batch& batch, std::span<real> probabilities) const {
  BatchResult result;
  const auto classes = static_cast<size_t>(network_.classes());
  for (int c = 0; c < cores(); ++c) {
    const Share share = core_share(batch.samples, cores(), c);
    const real* output = cores_[static_cast<size_t>(c)]->output();
    for (int s = share.begin; s < share.end; ++s, output += 1 + classes) {
      result.loss_sum += static_cast<double>(output[0]);
      const real* p = output + 1;
      result.correct += names_label({p, classes}, batch.labels[s]);
      if (!probabilities.empty())
        std::copy_n(p, classes, probabilities.data() + static_cast<size_t>(s) * classes);
    }
  }
  return result;
}

void DataParallel::report_nonfinite(const Batch& batch, const StepKey& key, const Parameters& parameters) {
  for (int c = 0; c < cores(); ++c) {
    const NodeId n = cores_[static_cast<size_t>(c)]->first_nonfinite(core_batch(network_, batch, cores(), c),
                                                                     key, parameters);
    if (n < 0) continue;
    fail(
        "the loss is not finite at step {}: the first layer whose output is not is '{}' ({}); lower --lr, or "
        "add "
        "--warmup",
        key.step, network_.node(n).name, network_.node(n).spec);
  }
  fail("the loss is not finite at step {}, though every layer's output is: lower --lr", key.step);
}

void DataParallel::sum_gradients() {
  if (cores() == 1) return;
  real* total = core_gradients_[0].data();
  parallel_ranges(network_.param_array_elems(), threads_, [&](int64_t begin, int64_t end) {
    for (size_t c = 1; c < core_gradients_.size(); ++c) {
      const real* core = core_gradients_[c].data();
      for (int64_t i = begin; i < end; ++i) total[i] += core[i];
    }
  });
}

void DataParallel::update_states(int samples, std::span<real> states) {
  for (NodeId n = 0; n < network_.node_count(); ++n) {
    const Node& node = network_.node(n);
    if (node.states == 0) continue;
    std::vector<const std::byte*> aux;
    std::vector<int> counts;
    std::vector<real*> state;
    for (int c = 0; c < cores(); ++c) {
      aux.push_back(cores_[static_cast<size_t>(c)]->batch_aux(n));
      counts.push_back(core_share(samples, cores(), c).size());
    }
    for (int s = node.first_state; s < node.first_state + node.states; ++s)
      state.push_back(states.data() + network_.states()[static_cast<size_t>(s)].offset);
    node.layer->update_state(aux, counts, state);
  }
}

}  // namespace mbs
