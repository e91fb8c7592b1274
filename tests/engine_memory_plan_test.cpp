#include <fmt/core.h>

#include <algorithm>

#include "engine/memory_plan.h"
#include "engine/node_arrays.h"
#include "layers/zoo/zoo.h"
#include "tests/doctest.h"
#include "tests/random_schedule.h"

using namespace mbs;

namespace {

MemoryPlan plan_of(const Network& network, const Schedule& schedule) {
  return plan_memory(network, compile(network, Dataflow(network), schedule), network.output());
}

Schedule full_serialization(const Network& network, int batch, int sub_batch) {
  const NodeId last = network.node_count() - 1;
  return {"fs", batch, {{Phase::forward, 0, last, sub_batch}, {Phase::backward, 0, last, sub_batch}}};
}

// Walks every chunk of the schedule and keeps who owns each byte: what is read must still belong to its
// buffer. Shares nothing with the planner but the list of touches and the offsets.
std::string first_stolen_byte(const Program& program, const MemoryPlan& plan) {
  constexpr int64_t kGrain = 64;
  std::vector<int> owner(static_cast<size_t>(plan.arena_bytes / kGrain), -1);
  std::vector<std::vector<uint8_t>> written(plan.buffers.size());
  for (const auto& [pass, steps] : program.passes) {
    for (int first = 0; first < program.batch; first += pass.sub_batch) {
      const int samples = std::min(pass.sub_batch, program.batch - first);
      for (const Step& step : steps) {
        for (const BufferName& name : step.touches) {
          const PlannedBuffer& b = plan.find(name);
          const auto index = static_cast<size_t>(&b - plan.buffers.data());
          const int64_t begin = b.offset + (b.whole_batch ? first * b.bytes_per_sample : 0);
          const int64_t bytes = b.bytes_per_sample > 0 ? samples * b.bytes_per_sample : b.bytes;
          const auto slot = static_cast<size_t>(b.whole_batch ? first : 0);
          written[index].resize(static_cast<size_t>(program.batch) + 1);
          for (int64_t g = begin / kGrain; g < (begin + bytes + kGrain - 1) / kGrain; ++g) {
            int& o = owner[static_cast<size_t>(g)];
            // A forward value or aux that is read by a later step must still be there.
            const bool kept = b.whole_batch && written[index][slot] != 0;
            const bool shared_line = g == begin / kGrain || g == (begin + bytes - 1) / kGrain;
            if (kept && o != static_cast<int>(index) && !shared_line)
              return fmt::format("buffer {} lost memory to {}", index, o);
            o = static_cast<int>(index);
          }
          written[index][slot] = 1;
        }
      }
    }
  }
  return {};
}

}  // namespace

TEST_CASE("no two buffers that live together overlap") {
  const Network network = make_network({.arch = "resnet8"});
  for (uint64_t seed = 0; seed < 25; ++seed) {
    CAPTURE(seed);
    const Schedule schedule = tests::random_schedule(network, 5, seed);
    const Program program = compile(network, Dataflow(network), schedule);
    const MemoryPlan plan = plan_memory(network, program, network.output());
    EXPECT(find_overlap(plan).empty());
    EXPECT(first_stolen_byte(program, plan).empty());
  }
}

TEST_CASE("the overlap checks see a planted overlap") {
  const Network network = make_network({.arch = "resnet8"});
  const Schedule schedule = full_serialization(network, 5, 2);
  const Program program = compile(network, Dataflow(network), schedule);
  MemoryPlan plan = plan_memory(network, program, network.output());
  REQUIRE(find_overlap(plan).empty());
  REQUIRE(first_stolen_byte(program, plan).empty());
  std::vector<PlannedBuffer*> stored;
  for (PlannedBuffer& b : plan.buffers) {
    if (b.whole_batch && b.name.kind == BufferKind::value && b.bytes > 100000) stored.push_back(&b);
  }
  REQUIRE(stored.size() >= 2);
  stored[1]->offset = stored[0]->offset;
  EXPECT(!find_overlap(plan).empty());
  EXPECT(!first_stolen_byte(program, plan).empty());
}

TEST_CASE("no order needs much more than what is stored for backward") {
  const Network network = make_network({.arch = "resnet20"});
  const int batch = 64;
  int64_t stored = 0;  // inputs of convolutions and of norms
  for (const TensorInfo& t : network.tensors()) {
    if (t.producer < 0) continue;
    bool needed = false;
    for (const Use& use : t.uses) {
      const Node& node = network.node(use.node);
      needed = needed || node.layer->needs(node.wants_dx).x;
    }
    if (needed) stored += t.shape.elems() * static_cast<int64_t>(sizeof(real)) * batch;
  }
  const int64_t baseline = plan_of(network, layer_by_layer(network, batch)).arena_bytes;
  const int64_t serialized = plan_of(network, full_serialization(network, batch, 4)).arena_bytes;
  EXPECT(serialized >= stored);
  EXPECT(serialized <
         stored * 115 / 100);  // masks are 1/32, working tensors of 4 samples, gradients of 4 samples
  // Layer by layer holds a whole batch of working tensors, but at the peak, where forward turns into
  // backward, these are the small ones of the last layers.
  EXPECT(baseline >= stored);
  EXPECT(baseline < stored * 115 / 100);
}

TEST_CASE("arrays of one turn lie side by side, those of another turn over them") {
  const NodeArrays arrays({10, 0, 20, 100}, {0, 0, 0, 1});
  EXPECT(arrays.nodes() == std::vector<NodeId>{0, 2, 3});
  EXPECT(arrays.of(1) == nullptr);
  EXPECT(arrays.of(2) >= arrays.of(0) + 10);
  EXPECT(arrays.of(3) == arrays.of(0));
  EXPECT(arrays.bytes() >= 100 * static_cast<int64_t>(sizeof(real)));
  EXPECT(arrays.bytes() < 130 * static_cast<int64_t>(sizeof(real)));
}

TEST_CASE(
    "accumulators of gradients live in the pass of their node, and only in its call where that is all of the "
    "pass") {
  const Network net = make_network({.arch = "resnet20"});
  const auto bytes = [&](const Schedule& schedule) {
    return accumulator_arrays(net, compile(net, Dataflow(net), schedule)).bytes();
  };
  int64_t largest = 0, all = 0;
  for (const Node& node : net.nodes()) {
    const int64_t elems = node.layer->needs(node.wants_dx).accumulator_elems;
    largest = std::max(largest, elems);
    all += elems;
  }
  const auto near = [](int64_t held, int64_t elems) {  // up to a cache line for each node
    const int64_t wanted = elems * static_cast<int64_t>(sizeof(real));
    return held >= wanted && held < wanted + 64 * 100;
  };
  EXPECT(near(bytes(layer_by_layer(net, 4)), largest));
  EXPECT(near(bytes(full_serialization(net, 4, 2)), all));
  EXPECT(near(bytes(full_serialization(net, 4, 4)), largest));
  EXPECT(near(bytes(forward_only(net, 4, 2)), 0));
}
