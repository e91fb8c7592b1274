#include "engine/schedule.h"
#include "layers/zoo/zoo.h"
#include "tests/doctest.h"
#include "tests/helpers.h"
#include "tests/random_schedule.h"

using namespace mbs;

namespace {

std::string refusal(const Network& network, const Schedule& schedule) {
  return error_of([&] { validate(network, schedule); });
}

}  // namespace

TEST_CASE("valid schedules pass validation") {
  const Network network = make_network({.arch = "resnet8"});
  EXPECT(refusal(network, layer_by_layer(network, 7)).empty());
  EXPECT(refusal(network, forward_only(network, 7, 3)).empty());
  for (uint64_t seed = 0; seed < 20; ++seed)
    EXPECT(refusal(network, tests::random_schedule(network, 7, seed)).empty());
}

TEST_CASE("an invalid schedule is refused with the pass and the rule") {
  const Network network = make_network({.arch = "resnet8"});
  const Schedule good = layer_by_layer(network, 7);
  Schedule s = good;
  s.passes[3].sub_batch = 8;
  EXPECT(has(refusal(network, s), "pass 3"));
  EXPECT(has(refusal(network, s), "between 1 and the batch of 7"));
  s = good;
  s.passes[3].last = 999;
  EXPECT(has(refusal(network, s), "not a span"));
  s = good;
  s.passes.erase(s.passes.begin() + 4);
  EXPECT(has(refusal(network, s), "cover every node once"));
  s = good;
  s.passes.pop_back();
  EXPECT(has(refusal(network, s), "do not cover every node"));
  s = good;
  s.passes.erase(s.passes.begin() + network.node_count() - 1);  // the last forward pass
  EXPECT(has(refusal(network, s), "before the forward passes have covered every node"));
  s = good;
  s.batch = 0;
  EXPECT(has(refusal(network, s), "the batch is 0"));
}

TEST_CASE("a schedule that splits a batch norm is refused, naming the layer and the way out") {
  const Network network = make_network({.arch = "resnet8", .norm = Norm::batch});
  EXPECT(refusal(network, layer_by_layer(network, 7)).empty());
  Schedule s{"split", 7, {}};
  s.passes = {{Phase::forward, 0, network.node_count() - 1, 4},
              {Phase::backward, 0, network.node_count() - 1, 4}};
  const std::string message = refusal(network, s);
  EXPECT(has(message, "layer 'bn1' (batch_norm"));
  EXPECT(has(message, "--norm gn"));
  // Inference uses the running statistics, which couple nothing.
  EXPECT(refusal(network, forward_only(network, 7, 3)).empty());
}

TEST_CASE("a schedule prints one line per pass") {
  const Network network = make_network({.arch = "resnet8"});
  const NodeId last = network.node_count() - 1;
  const Schedule s{"fs", 7, {{Phase::forward, 0, last, 2}, {Phase::backward, 0, last, 2}}};
  EXPECT(to_text(network, s) ==
         "forward   conv1 .. loss  2 samples x 4 chunks\n"
         "backward  loss .. conv1  2 samples x 4 chunks\n");
}
