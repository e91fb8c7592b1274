// The promise of the program: the bits of a training run do not depend on the order, the sub-batches, the
// threads, counting, evaluation in between, or being stopped. Checked with memcmp after 20 steps of ResNet-20
// with augmentation.
#include <cstring>

#include "datasets/dataset.h"
#include "datasets/loader.h"
#include "engine/data_parallel.h"
#include "engine/optimizer.h"
#include "layers/zoo/zoo.h"
#include "mbs/planner.h"
#include "tests/doctest.h"
#include "tests/random_schedule.h"
#include "wavecore/accountant.h"

using namespace mbs;

namespace {

constexpr int kBatch = 7;  // shares of 3 and 4 samples on two cores
constexpr int kCores = 2;
constexpr int kCoreBatch = (kBatch + kCores - 1) / kCores;
constexpr int kSteps = 20;
constexpr uint64_t kSeed = 3;

const Dataset& images() {
  static const DataSplits splits = [] {
    DatasetOptions options;
    options.name = "synthetic";
    options.synthetic_train = 5 * kBatch;  // 20 steps are 4 epochs
    options.synthetic_test = 1;
    return load_dataset(options);
  }();
  return splits.train;
}

struct State {
  std::vector<real> params, states, velocity;
};

struct Setup {
  int threads = 2;
  bool mirror = false;
  int stop_after = kSteps;   ///< the run is stopped there and continued from its state
  bool evaluates = false;    ///< after every step, in the memory of the training and in its own
  bool drop_sample = false;  ///< planted fault: one sample of the batch has no gradient
};

// Runs steps [first, last) from `state` with everything made anew, as a resumed run would.
void run_steps(const Network& network, const Schedule& schedule, const Setup& setup, int first, int last,
               State& state) {
  std::vector<int> indices(static_cast<size_t>(images().count()));
  for (size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<int>(i);
  const Normalization normalization = compute_normalization(images(), indices);
  LoaderOptions loading;
  loading.batch_size = kBatch;
  loading.seed = kSeed;
  loading.augmentation = {4, true, 8};
  Loader loader(images(), indices, normalization, loading);
  const int per_epoch = static_cast<int>(loader.batches());

  DataParallel cores(network, schedule, kBatch, kCores, setup.threads);
  const Schedule forward = forward_only(network, kCoreBatch, 2);
  DataParallel lent(network, forward, kBatch, kCores, setup.threads, &cores),
      apart(network, forward, kBatch, kCores, setup.threads);
  Sgd sgd(network, {.nesterov = true}, setup.threads);
  std::copy(state.velocity.begin(), state.velocity.end(), sgd.velocity().begin());
  Accountant first_core({}), second_core({});
  const std::vector<Recorder*> recorders = {&first_core, &second_core};
  std::vector<int> labels;
  for (int step = first; step < last; ++step) {
    if (step == first || step % per_epoch == 0) loader.start(step / per_epoch, step % per_epoch);
    const LoadedBatch batch = *loader.next();
    labels.assign(batch.labels.begin(), batch.labels.end());
    if (setup.drop_sample && step == 11) labels[4] = -1;
    cores.step({batch.samples(), batch.images, labels.data()}, {kSeed, static_cast<uint64_t>(step)},
               state.params, state.states,
               setup.mirror ? std::span<Recorder* const>(recorders) : std::span<Recorder* const>());
    sgd.step(state.params, cores.gradients(), 0.05);
    if (setup.evaluates) {
      const Batch whole{batch.samples(), batch.images, labels.data()};
      const double loss = lent.evaluate(whole, state.params, state.states).loss_sum;
      REQUIRE(loss == apart.evaluate(whole, state.params, state.states).loss_sum);
    }
  }
  state.velocity.assign(sgd.velocity().begin(), sgd.velocity().end());
  if (setup.mirror) EXPECT(first_core.traffic().total_bytes() > 0);
}

std::vector<real> train(const Network& network, const Schedule& schedule, const Setup& setup = {}) {
  State state{initial_params(network, kSeed), initial_states(network), {}};
  state.velocity.resize(state.params.size());
  run_steps(network, schedule, setup, 0, setup.stop_after, state);
  if (setup.stop_after < kSteps) run_steps(network, schedule, setup, setup.stop_after, kSteps, state);
  return state.params;
}

bool same_bits(const std::vector<real>& a, const std::vector<real>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(real)) == 0;
}

Schedule planned(const Network& network, Order order) {
  PlanOptions options;
  options.order = order;
  options.batch = kCoreBatch;
  options.buffer_bytes = 160 << 10;  // two samples of the first layers in 16-bit words
  return make_plan(network, options).schedule;
}

}  // namespace

TEST_CASE("ResNet-20 has the same weights after 20 steps in every order, at any threads, stopped or not") {
  const Network network = make_network({.arch = "resnet20"});
  const std::vector<real> expected = train(network, layer_by_layer(network, kCoreBatch));
  EXPECT(!same_bits(expected, initial_params(network, kSeed)));

  for (Order order : {Order::mbs_fs, Order::mbs1, Order::mbs2, Order::mbs_r}) {
    CAPTURE(word_of(order));
    const Schedule schedule = planned(network, order);
    EXPECT(schedule.passes.front().sub_batch < kCoreBatch);  // it does split
    EXPECT(same_bits(expected, train(network, schedule)));
  }
  for (const Recompute recompute : {Recompute::branches, Recompute::joins, Recompute::expansions}) {
    Schedule again = planned(network, Order::mbs2);
    for (Pass& pass : again.passes)
      if (pass.phase == Phase::backward) pass.recompute = recompute;
    EXPECT(same_bits(expected, train(network, again)));
  }
  for (uint64_t seed = 0; seed < 3; ++seed) {
    CAPTURE(seed);
    EXPECT(same_bits(expected, train(network, tests::random_schedule(network, kCoreBatch, seed))));
  }
  const Schedule schedule = planned(network, Order::mbs2);
  EXPECT(same_bits(expected, train(network, schedule, {.threads = 1})));
  EXPECT(same_bits(expected, train(network, schedule, {.mirror = true})));
  EXPECT(same_bits(expected, train(network, schedule, {.evaluates = true})));
  EXPECT(
      same_bits(expected, train(network, schedule, {.stop_after = 8})));  // in the middle of the second epoch

  // The comparison sees one dropped gradient of one sample in one of the steps.
  EXPECT(!same_bits(expected, train(network, schedule, {.drop_sample = true})));
}

TEST_CASE("networks with projections and standardized weights, and with batch norm, keep their bits too") {
  const Network projections =
      make_network({.arch = "resnet8", .weight_standardization = true, .shortcut = Shortcut::b});
  const std::vector<real> expected = train(projections, layer_by_layer(projections, kCoreBatch));
  for (uint64_t seed = 10; seed < 14; ++seed) {
    CAPTURE(seed);
    const Schedule schedule = tests::random_schedule(projections, kCoreBatch, seed);
    EXPECT(same_bits(expected, train(projections, schedule)));
    EXPECT(same_bits(expected, train(projections, schedule, {.threads = 1, .evaluates = true})));
  }
  const Network coupled = make_network({.arch = "resnet8", .norm = Norm::batch});
  const Schedule whole = layer_by_layer(coupled, kCoreBatch);
  const std::vector<real> bn = train(coupled, whole);
  EXPECT(same_bits(bn, train(coupled, whole, {.threads = 1})));
  EXPECT(same_bits(bn, train(coupled, whole, {.stop_after = 8})));
  EXPECT(same_bits(bn, train(coupled, whole, {.evaluates = true})));
}
