// The ImageNet networks run for real: one forward and backward pass of each, on the smallest images that they
// take.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "engine/data_parallel.h"
#include "engine/optimizer.h"
#include "engine/random.h"
#include "layers/zoo/zoo.h"
#include "mbs/planner.h"
#include "tests/doctest.h"

namespace mbs {
namespace {

constexpr int kBatch = 2;
constexpr uint64_t kSeed = 11;

NetworkOptions smallest(const std::string& arch) {
  NetworkOptions options;
  options.arch = arch;
  for (const ArchInfo& info : architectures())
    if (info.name == arch) options.input.h = options.input.w = info.smallest_size;
  return options;
}

std::vector<real> images_of(const Network& network) {
  const Random random(kSeed, Stream::test);
  std::vector<real> images(static_cast<size_t>(kBatch * network.tensor(network.input()).shape.elems()));
  for (size_t i = 0; i < images.size(); ++i) images[i] = static_cast<real>(4 * random.uniform(i) - 2);
  return images;
}

/// The gradient of the mean loss over two samples.
std::vector<real> gradients_of(const Network& network, const Schedule& schedule,
                               const std::vector<real>& params) {
  const std::vector<real> images = images_of(network);
  const int labels[kBatch] = {3, 8};
  std::vector<real> states = initial_states(network);
  DataParallel core(network, schedule, kBatch, 1, 1);
  const BatchResult result = core.step({kBatch, images.data(), labels}, {kSeed, 0}, params, states);
  EXPECT(std::isfinite(result.loss_sum));
  EXPECT(result.loss_sum > 0);
  return {core.gradients().begin(), core.gradients().end()};
}

// The smallest buffer: its largest block has one sample on chip at a time.
Schedule serialized(const Network& network) {
  PlanOptions options;
  options.order = Order::mbs2;
  options.batch = kBatch;
  options.buffer_bytes = smallest_buffer_bytes(network, options);
  return make_plan(network, options).schedule;
}

void check_training(const NetworkOptions& options) {
  const Network network = make_network(options);
  const std::vector<real> params = initial_params(network, kSeed);
  const std::vector<real> gradients = gradients_of(network, layer_by_layer(network, kBatch), params);
  for (const ParamInfo& p : network.params()) {
    CAPTURE(p.key);
    double largest = 0;
    for (int64_t i = 0; i < p.elems; ++i) {
      const real g = gradients[static_cast<size_t>(p.offset + i)];
      if (!(std::abs(g) <= largest)) largest = std::abs(g);  // written so that NaN gets through
    }
    EXPECT((largest > 0 && std::isfinite(largest)));
  }
  Schedule schedule = serialized(network);
  EXPECT(std::any_of(schedule.passes.begin(), schedule.passes.end(),
                     [](const Pass& pass) { return pass.sub_batch < kBatch; }));
  for (const Recompute recompute : {Recompute::nothing, Recompute::joins, Recompute::expansions}) {
    for (Pass& pass : schedule.passes)
      if (pass.phase == Phase::backward) pass.recompute = recompute;
    const std::vector<real> again = gradients_of(network, schedule, params);
    REQUIRE(again.size() == gradients.size());
    EXPECT(std::memcmp(again.data(), gradients.data(), gradients.size() * sizeof(real)) == 0);
  }
}

TEST_CASE("zoo: alexnet trains, with the same gradients in MBS order") {
  check_training(smallest("alexnet"));
}
TEST_CASE("zoo: inception_v3 trains, with the same gradients in MBS order") {
  check_training(smallest("inception_v3"));
}
TEST_CASE("zoo: inception_v4 trains, with the same gradients in MBS order") {
  check_training(smallest("inception_v4"));
}
TEST_CASE("zoo: resnet50 trains, with the same gradients in MBS order") {
  NetworkOptions options = smallest("resnet50");
  options.input.h = options.input.w = 33;  // of one pixel, nothing but padding would reach most taps
  check_training(options);
}

}  // namespace
}  // namespace mbs
