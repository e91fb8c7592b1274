// What the compiled program and its events say about who hands data to whom.
#include <cmath>
#include <limits>
#include <string>

#include "engine/check.h"
#include "engine/data_parallel.h"
#include "engine/optimizer.h"
#include "engine/program.h"
#include "layers/zoo/zoo.h"
#include "tests/doctest.h"
#include "tests/helpers.h"
#include "tests/random_schedule.h"

using namespace mbs;

namespace {

struct Call {
  std::string name;
  Phase phase;
  int pass, chunk, first_sample, samples;
  std::vector<GemmShape> gemms;
  std::vector<Operand> operands;
  bool operator==(const Call&) const = default;
};

struct Calls : Recorder {
  std::vector<Call> all;
  void on_kernel(const KernelEvent& e) override {
    all.push_back({std::string(e.name),
                   e.phase,
                   e.pass,
                   e.chunk,
                   e.first_sample,
                   e.samples,
                   {e.gemms.begin(), e.gemms.end()},
                   {e.operands.begin(), e.operands.end()}});
  }
  const Call& find(const std::string& name, Phase phase) const {
    for (const Call& call : all) {
      if (call.name == name && call.phase == phase) return call;
    }
    REQUIRE_MESSAGE(false, "no event of " << name);
    return all.front();
  }
};

// A stem, an identity block (conv1 -> relu1 -> conv2 + input) and a head: tensors 1 stem, 2 conv1, 3 relu1, 4
// conv2, 5 add, 6 pool, 7 fc, 8 loss.
Network identity_block() {
  Network n("identity", {6, 5, 3});
  const TensorId stem = n.add("stem", "conv2d out=4 kernel=3 pad=1", {n.input()});
  n.begin_block("block", Block::Kind::residual);
  TensorId x = n.add("conv1", "conv2d out=4 kernel=3 pad=1", {stem});
  x = n.add("relu1", "relu", {x});
  x = n.add("conv2", "conv2d out=4 kernel=3 pad=1", {x});
  n.join();
  x = n.add("add", "add", {x, stem});
  n.end_block();
  x = n.add("pool", "global_avg_pool", {x});
  x = n.add("fc", "linear out=3", {x});
  n.add("loss", "softmax_loss", {x});
  return n;
}

Schedule one_group(const Network& n, int batch, int sub_batch) {
  const NodeId last = n.node_count() - 1;
  return {"one",
          batch,
          {{Phase::forward, 0, last, sub_batch, Reuse::group},
           {Phase::backward, 0, last, sub_batch, Reuse::group}}};
}

Calls events(const Network& n, const Schedule& s) {
  Calls calls;
  dry_run(n, s, s.batch, calls);
  return calls;
}

}  // namespace

TEST_CASE("an identity shortcut passes the gradient of the add on, in one buffer") {
  const Network n = identity_block();
  const Dataflow flow(n);
  const TensorId stem = 1, conv2 = 4, add = 5;
  const NodeId stem_node = 0, conv1_node = 1, conv2_node = 3, add_node = 4, pool_node = 5;
  EXPECT(!flow.has_backward(add_node));
  EXPECT(flow.gradient_root(conv2) == add);
  EXPECT(flow.gradient_root(stem) == add);
  EXPECT(flow.adds({conv1_node, 0}));  // conv1's contribution joins the one that add passed on
  EXPECT(flow.sum_writer({conv1_node, 0}) == pool_node);
  EXPECT(flow.gradient_writer(conv2).node == pool_node);
  EXPECT(flow.gradient_writer(conv2).chained);
  EXPECT(flow.gradient_writer(stem).node == conv1_node);
  EXPECT(flow.gradient_writer(stem).chained);  // conv1 is the stem's first consumer

  // What the pool's backward writes is read by conv2 (next in the branch) and by conv1 (which adds to it).
  const std::vector<Reader> readers = flow.gradient_readers({pool_node, 0});
  REQUIRE(readers.size() == 2);
  EXPECT(readers[0].node == conv2_node);
  EXPECT(readers[0].chained);
  EXPECT(readers[1].node == conv1_node);
  EXPECT(!readers[1].chained);
  EXPECT(flow.readers(stem).size() == 2);
  EXPECT(flow.writers(stem) == std::vector<NodeId>{stem_node});
}

TEST_CASE("an add passes no gradient on where a later reader would find it overwritten") {
  // relu reads the gradient of its output while it adds to the gradient of its input: not in one buffer.
  Network n("inner", {3, 3, 2});
  const TensorId a = n.add("a", "conv2d out=2 kernel=1", {n.input()});
  const TensorId b = n.add("b", "relu", {a});
  const TensorId y = n.add("y", "add", {b, a});
  const TensorId twice = n.add("twice", "add", {y, y});
  const TensorId fc = n.add("fc", "linear out=2", {twice});
  n.add("loss", "softmax_loss", {fc});
  const Dataflow flow(n);
  EXPECT(flow.passed({2, 0}));
  EXPECT(!flow.passed({2, 1}));
  EXPECT(!flow.passed({3, 0}));
  EXPECT(!flow.passed({3, 1}));
  EXPECT(flow.has_backward(2));
  EXPECT(flow.has_backward(3));
}

TEST_CASE("events of a serialized block state what stays in the chunk") {
  const Network n = identity_block();
  const Calls calls = events(n, one_group(n, 5, 2));
  EXPECT(calls.all.size() == 3u * (8 + 7));  // chunks of 2, 2, 1; 8 forward calls; add has no backward call

  const Call& conv1 = calls.find("conv1", Phase::forward);
  EXPECT(conv1.samples == 2);
  EXPECT(conv1.operands[0].elems == 2 * 6 * 5 * 4);
  EXPECT(conv1.operands[0].local);
  EXPECT(conv1.operands[0].chained);
  EXPECT(conv1.operands[1].access == Access::write);
  EXPECT(conv1.operands[1].local);    // relu1 reads it here
  EXPECT(!conv1.operands[1].stored);  // relu keeps a mask instead
  EXPECT(conv1.gemms == std::vector<GemmShape>{{GemmShape::Kind::forward, 2 * 6 * 5, 4, 3 * 3 * 4}});

  const Call& stem = calls.find("stem", Phase::forward);
  EXPECT(!stem.operands[0].local);  // the image
  EXPECT(stem.operands[1].stored);  // conv1's weight gradient needs it
  EXPECT(stem.operands[1].local);
  EXPECT(!stem.operands[1].chained);  // the shortcut reads it too
  const Call& add = calls.find("add", Phase::forward);
  EXPECT(add.operands[0].chained);
  EXPECT(!add.operands[1].chained);

  const Call& stem_back = calls.find("stem", Phase::backward);
  for (const Operand& o : stem_back.operands) EXPECT(o.role != Role::weight);  // no data gradient, no weights
  int weight_gradients = 0;
  for (const Call& call : calls.all) {
    for (const Operand& o : call.operands) {
      if (o.role != Role::weight_gradient) continue;
      ++weight_gradients;
      EXPECT(o.access == (call.chunk == 0 ? Access::write : Access::accumulate));
    }
  }
  EXPECT(weight_gradients == 3 * 5);  // chunks x (stem, conv1, conv2, fc weight, fc bias)
}

TEST_CASE("layer by layer nothing is local") {
  const Network n = identity_block();
  for (const Call& call : events(n, layer_by_layer(n, 5)).all) {
    for (const Operand& o : call.operands) EXPECT(!o.local);
  }
}

TEST_CASE("a dry run has the events of the real run") {
  const Network n = make_network({.arch = "resnet8"});
  for (uint64_t seed = 0; seed < 4; ++seed) {
    CAPTURE(seed);
    const Schedule schedule = tests::random_schedule(n, 3, seed);
    Calls real_run;
    DataParallel cores(n, schedule, 3, 1, 1);
    const std::vector<real> images(3 * 32 * 32 * 3, real{0.5});
    const std::vector<int> labels = {1, 2, 3};
    const std::vector<real> params = initial_params(n, 1);
    Recorder* const recorder = &real_run;
    cores.step({3, images.data(), labels.data()}, {1, 0}, params, {}, std::span(&recorder, 1));
    const Calls dry = events(n, schedule);
    REQUIRE(dry.all.size() == real_run.all.size());
    EXPECT(dry.all == real_run.all);
  }
}

TEST_CASE("a loss that is not finite names the step and the first layer whose output is not") {
  const Network n = identity_block();
  DataParallel cores(n, one_group(n, 3, 2), 3, 1, 1);
  const std::vector<real> images(3 * 6 * 5 * 3, real{1});
  const std::vector<int> labels = {0, 1, 2};
  std::vector<real> params = initial_params(n, 1);
  EXPECT(std::isfinite(cores.step({3, images.data(), labels.data()}, {1, 0}, params, {}).loss_sum));
  for (const ParamInfo& p : n.params()) {
    if (p.key == "conv2.weight")
      params[static_cast<size_t>(p.offset)] = std::numeric_limits<real>::infinity();
  }
  const std::string message = error_of([&] {
    cores.step({3, images.data(), labels.data()}, {1, 41}, params, {});
  });
  EXPECT(has(message, "step 41"));
  EXPECT(has(message, "'conv2'"));
}

TEST_CASE("a batch smaller than the cores is refused with the way out") {
  const Network n = identity_block();
  const std::string message = error_of([&] { DataParallel cores(n, layer_by_layer(n, 1), 3, 4, 1); });
  EXPECT(has(message, "3 samples cannot be shared by 4 cores"));
  EXPECT(has(message, "--cores 3"));
}

TEST_CASE("gradients of the cores are those of one core, up to rounding") {
  const Network n = identity_block();
  const int batch = 7;
  std::vector<real> images(static_cast<size_t>(batch) * 6 * 5 * 3);
  const Random random(5, Stream::test);
  for (size_t i = 0; i < images.size(); ++i) images[i] = static_cast<real>(random.normal(i));
  const std::vector<int> labels = {0, 1, 2, 0, 1, 2, 0};
  const std::vector<real> params = initial_params(n, 1);
  DataParallel one(n, layer_by_layer(n, 7), batch, 1, 1), three(n, layer_by_layer(n, 3), batch, 3, 2);
  const BatchResult a = one.step({batch, images.data(), labels.data()}, {1, 0}, params, {});
  const BatchResult b = three.step({batch, images.data(), labels.data()}, {1, 0}, params, {});
  EXPECT(a.loss_sum == b.loss_sum);  // the forward pass of a sample has the same bits anywhere
  EXPECT(a.correct == b.correct);
  for (size_t i = 0; i < params.size(); ++i)
    EXPECT(std::abs(one.gradients()[i] - three.gradients()[i]) < 1e-5 + 1e-4 * std::abs(one.gradients()[i]));
}
