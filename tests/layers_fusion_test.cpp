// Fusion of ReLU into the layer before it: as layers (relu=1 gives the bits of two layers), as a pass from
// network to network, in what is counted, and in what is trained.

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "engine/check.h"
#include "engine/data_parallel.h"
#include "engine/optimizer.h"
#include "engine/random.h"
#include "layers/fusion.h"
#include "tests/doctest.h"
#include "tests/layer_harness.h"
#include "tests/mbs_networks.h"
#include "tests/random_schedule.h"

namespace mbs::testing {
namespace {

constexpr std::string_view kAttribute = " relu=1";

// The layer without its ReLU.
Subject without_relu(const Subject& fused) {
  std::string text = fused.text;
  text.erase(text.find(kAttribute), kAttribute.size());
  return make_subject(text);
}

Subject relu_behind(const Layer& layer) {
  const Shape& s = layer.out_shape();
  return make_subject(fmt::format("relu | {}x{}x{}", s.h, s.w, s.c));
}

// What differs between one layer and its two halves, which hand y and the gradient on; empty: nothing.
std::string check_halves(const Layer& fused, const Layer& plain, const Layer& relu, const Inputs& in,
                         const RunOptions& options) {
  const Run whole = run_layer(fused, in, options);
  RunOptions forward = options;
  forward.backward = false;
  Inputs between = make_inputs(relu, in.samples, 1);
  between.x[0] = run_layer(plain, in, forward).y;
  between.dy = in.dy;
  const Run second = run_layer(
      relu, between, {.chunks = options.chunks, .training = options.training, .backward = options.backward});
  std::string faults = same_bits(whole.y, second.y) ? "" : "y differs; ";
  if (!options.backward) return faults;
  Inputs masked = in;
  masked.dy = second.dx[0];
  const Run first = run_layer(plain, masked, options);
  for (size_t i = 0; i < whole.dx.size(); ++i)
    if (!same_bits(whole.dx[i], first.dx[i])) faults += fmt::format("dx[{}] differs; ", i);
  for (size_t i = 0; i < whole.dparams.size(); ++i)
    if (!same_bits(whole.dparams[i], first.dparams[i])) faults += fmt::format("dparams[{}] differs; ", i);
  return faults;
}

// Over all ways to call it and, where it may be split, several splits.
std::string check_fused(const Layer& fused, const Subject& subject) {
  constexpr int kSamples = 5;
  const Subject plain = without_relu(subject), relu = relu_behind(fused);
  const Inputs in = make_inputs(fused, kSamples, 6);
  std::vector<std::vector<int>> splits = {{kSamples}};
  if (!fused.couples_samples()) splits.insert(splits.end(), {{1, 1, 1, 1, 1}, {2, 3}, {4, 1}});
  std::string faults;
  for (const std::vector<int>& chunks : splits)
    for (const RunOptions& options : {RunOptions{.chunks = chunks},
                                      {.chunks = chunks, .add_to_dx = true},
                                      {.chunks = chunks, .every_second_dx = true},
                                      {.chunks = chunks, .wants_dx = false},
                                      {.chunks = chunks, .training = false, .backward = false}})
      faults += check_halves(fused, *plain.layer, *relu.layer, in, options);
  return faults;
}

/// Its backward sees an aux of the first sample with one bit of byte `at` turned.
struct TurnsBit final : Wrapper {
  TurnsBit(const std::string& text, size_t byte) : Wrapper(text), at(byte) {}
  void backward(const Backward& b) const override {
    std::vector<std::byte> aux(b.aux, b.aux + b.samples * inner_->needs(true).aux_bytes_per_sample);
    aux[at] ^= std::byte{1};
    Backward c = b;
    c.aux = aux.data();
    inner_->backward(c);
  }
  size_t at;
};

const Layer& layer_of(const Network& network, const std::string& name) {
  for (const Node& node : network.nodes())
    if (node.name == name) return *node.layer;
  fail("no node '{}'", name);
}

// Whether a ReLU is left that could have been fused.
bool has_fusable(const Network& network) {
  return std::any_of(network.nodes().begin(), network.nodes().end(), [&](const Node& node) {
    if (node.spec != "relu") return false;
    const TensorInfo& x = network.tensor(node.in[0]);
    const std::string& spec = x.producer < 0 ? network.name() : network.node(x.producer).spec;
    return x.uses.size() == 1 && (spec == "add" || spec == "batch_norm" || spec.starts_with("group_norm")) &&
           spec.find(kAttribute) == std::string::npos;
  });
}

bool same_params(const Network& a, const Network& b) {
  return a.param_array_elems() == b.param_array_elems() && a.state_array_elems() == b.state_array_elems() &&
         std::equal(a.params().begin(), a.params().end(), b.params().begin(), b.params().end(),
                    [](const ParamInfo& p, const ParamInfo& q) {
                      return p.key == q.key && p.offset == q.offset && p.elems == q.elems &&
                             p.spec.dims == q.spec.dims;
                    }) &&
         std::equal(
             a.states().begin(), a.states().end(), b.states().begin(), b.states().end(),
             [](const StateInfo& p, const StateInfo& q) { return p.key == q.key && p.offset == q.offset; });
}

// Every node of `fused` is the node of `network` of the same name, in the same order and place.
void check_nodes(const Network& network, const Network& fused) {
  NodeId old = -1;
  for (const Node& node : fused.nodes()) {
    while (++old < network.node_count() && network.node(old).name != node.name)
      EXPECT(network.node(old).spec == "relu");  // what is left out
    REQUIRE(old < network.node_count());
    const Node& was = network.node(old);
    CAPTURE(node.name);
    EXPECT((node.spec == was.spec || node.spec == was.spec + std::string(kAttribute)));
    EXPECT(node.branch == was.branch);
    EXPECT(node.random_key == was.random_key);
    const Block &block = fused.blocks()[static_cast<size_t>(node.block)],
                &was_in = network.blocks()[static_cast<size_t>(was.block)];
    EXPECT(block.name == was_in.name);
    EXPECT(block.kind == was_in.kind);
  }
}

// Fuses and checks what must hold for any network; returns the number of ReLUs that are gone.
int check_network(const Network& network) {
  const Network fused = fuse_relu(network);
  EXPECT(fused.name() == network.name());
  EXPECT(fused.tensor(fused.output()).shape == network.tensor(network.output()).shape);
  EXPECT(same_params(fused, network));
  EXPECT(!has_fusable(fused));
  check_nodes(network, fused);
  check_nodes(fused, fuse_relu(fused));
  return network.node_count() - fused.node_count();
}

constexpr int kBatch = 5;

// Parameters and states after three steps over noise.
std::vector<real> train(const Network& network, const Schedule& schedule) {
  std::vector<real> params = initial_params(network, 3), states = initial_states(network);
  DataParallel core(network, schedule, kBatch, 1, 1);
  Sgd sgd(network, {}, 1);
  std::vector<real> images(static_cast<size_t>(kBatch * network.tensor(network.input()).shape.elems()));
  const std::vector<int> labels = {0, 2, 1, 2, 0};
  for (uint64_t step = 0; step < 3; ++step) {
    const Random random(step, Stream::test);
    for (size_t i = 0; i < images.size(); ++i) images[i] = static_cast<real>(random.normal(i));
    core.step({kBatch, images.data(), labels.data()}, {7, step}, params, states);
    sgd.step(params, core.gradients(), 0.1);
  }
  params.insert(params.end(), states.begin(), states.end());
  return params;
}

Schedule planned(const Network& network, Order order) {
  PlanOptions options;
  options.order = order;
  options.batch = kBatch;
  options.buffer_bytes = 20 << 10;  // two samples of 8x8x16 and what a block holds beside them
  options.rules = traffic_rules("fused");
  return make_plan(network, options).schedule;
}

}  // namespace

TEST_CASE("relu=1 gives the bits of the layer and a relu behind it, however it is called") {
  std::vector<std::string> texts;
  for (const Subject& subject : all_subjects())
    if (subject.text.find(kAttribute) != std::string::npos) texts.push_back(subject.text);
  EXPECT(texts.size() >= 9);
  for (int channels : {1, 2, 8, 9, 12, 17, 24, 40, 64, 130}) {
    texts.push_back(fmt::format("group_norm channels=1 relu=1 | 3x5x{}", channels));
    texts.push_back(fmt::format("batch_norm relu=1 | 3x5x{}", channels));
    texts.push_back(fmt::format("add relu=1 | 3x5x{0} 3x5x{0}", channels));
  }
  texts.push_back("group_norm groups=1 relu=1 | 13x11x3");  // three blocks of pixels
  for (const std::string& text : texts) {
    CAPTURE(text);
    const Subject subject = make_subject(text);
    EXPECT(check_fused(*subject.layer, subject) == "");
  }
}

TEST_CASE("relu=1: the comparison sees one bit of a mask that is turned") {
  const auto sees = [](const std::string& text, size_t byte) {
    return check_fused(TurnsBit(text, byte), make_subject(text)) != "";
  };
  EXPECT(sees("group_norm groups=2 relu=1 | 3x5x6", 2 * 2 * 8));  // behind mean and variance of two groups
  EXPECT(sees("batch_norm relu=1 | 3x5x6", 0));
  EXPECT(sees("add relu=1 | 3x5x6 3x5x6", 0));
}

TEST_CASE("relu=1: zero of either sign and below are cut off, NaN and infinity stay") {
  constexpr real nan = std::numeric_limits<real>::quiet_NaN(), inf = std::numeric_limits<real>::infinity();
  const Subject subject = make_subject("add relu=1 | 1x1x9 1x1x9");
  Inputs in = make_inputs(*subject.layer, 1, 1);
  in.x[0] = {1, -0.0, 3, nan, inf, -inf, -2, 2, 1};
  in.x[1] = {-1, -0.0, 1, 1, 1, 1, 1, -1, nan};
  in.dy = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const Run run = run_layer(*subject.layer, in, {});
  EXPECT(same_bits(std::vector<real>(run.y.begin(), run.y.begin() + 3), {0, 0, 4}));
  EXPECT(std::isnan(run.y[3]));
  EXPECT(same_bits(std::vector<real>(run.y.begin() + 4, run.y.begin() + 8), {inf, 0, 0, 1}));
  EXPECT(std::isnan(run.y[8]));
  EXPECT(run.aux == std::vector{std::byte{0b10011100}, std::byte{1}});
  for (const auto& dx : run.dx) EXPECT(same_bits(dx, {0, 0, 3, 4, 5, 0, 0, 8, 9}));

  for (const std::string text : {"group_norm channels=3 relu=1 | 2x1x9", "batch_norm relu=1 | 2x1x9"}) {
    const Subject norm = make_subject(text);
    Inputs x = make_inputs(*norm.layer, 1, 1);
    x.x[0][4] = nan;
    EXPECT(std::isnan(run_layer(*norm.layer, x, {.training = false, .backward = false}).y[4]));
    EXPECT(std::isnan(run_layer(*norm.layer, x, {.backward = false}).y[9 + 4]));  // through the statistics
  }
}

TEST_CASE("relu=1: what layers declare, and what is kept beside the statistics") {
  const auto needs = [](const std::string& text) { return make_subject(text).layer->needs(true); };
  EXPECT(needs("add | 3x5x7 3x5x7").aux_bytes_per_sample == 0);
  EXPECT(needs("add relu=1 | 3x5x7 3x5x7").aux_bytes_per_sample == (3 * 5 * 7 + 7) / 8);
  // Mean and variance of two groups, and 3 * 5 * 6 bits, 12 bytes, in whole 16 bytes.
  EXPECT(needs("group_norm groups=2 relu=1 | 3x5x6").aux_bytes_per_sample == 2 * 2 * 8 + 16);
  EXPECT(needs("batch_norm relu=1 | 3x5x17").aux_bytes_per_sample == (3 * 5 * 17 + 7) / 8);
  EXPECT(needs("batch_norm relu=1 | 3x5x17").aux_bytes_per_batch == 17 * 2 * 8);
  for (const std::string text :
       {"add relu=1 | 1x1x2 1x1x2", "group_norm groups=1 relu=1 | 1x1x2", "batch_norm relu=1 | 1x1x2"}) {
    EXPECT(needs(text).aux_role == Role::relu_mask);
    EXPECT(!make_subject(text).layer->passes_gradient());
  }
  EXPECT(needs("group_norm groups=1 | 1x1x2").aux_role == Role::none);
}

TEST_CASE("fuse_relu: every network keeps its names, parameters, modules and branches") {
  for (const ArchInfo& info : architectures()) {
    CAPTURE(info.name);
    check_network(tests::zoo_network(info.name));
  }
  check_network(tests::zoo_network("resnet20", Shortcut::b, Norm::batch));
  EXPECT(check_network(tests::zoo_network("resnet20")) == 1 + 2 * 9);   // all of them
  EXPECT(check_network(tests::zoo_network("resnet50")) == 1 + 3 * 16);  // all of them
  EXPECT(check_network(tests::inception_like()) == 1);                  // the others follow convolutions
  const Network entangled = tests::entangled();
  EXPECT(check_network(entangled) == 1);
  EXPECT(!layer_of(fuse_relu(entangled), "twice").passes_gradient());
  EXPECT(layer_of(fuse_relu(entangled), "s2").passes_gradient());
}

TEST_CASE("fuse_relu: a tensor with another reader stays, a module may lose its first layer or all") {
  Network n("small", {4, 3, 2});
  const TensorId shared = n.add("n0", "batch_norm", {n.input()});
  const TensorId r0 = n.add("r0", "relu", {shared});  // the add below reads n0 too
  const TensorId n1 = n.add("n1", "batch_norm", {n.add("s", "add", {r0, shared})});
  n.begin_block("only", Block::Kind::residual);
  const TensorId r1 = n.add("r1", "relu", {n1});
  n.end_block();
  const TensorId n2 = n.add("n2", "group_norm groups=2", {r1});
  n.begin_block("module", Block::Kind::inception);
  const TensorId r2 = n.add("r2", "relu", {n2});
  const TensorId a = n.add("a", "conv2d out=3 kernel=1", {r2});
  n.next_branch();
  const TensorId b = n.add("b", "conv2d out=3 kernel=1", {r2});
  n.join();
  const TensorId joined = n.add("joined", "add", {a, b});
  n.end_block();
  n.add("r3", "relu", {n.add("r3 again", "relu", {joined})});
  EXPECT(check_network(n) == 3);  // r1, r2 and the first of the last two
  const Network fused = fuse_relu(n);
  std::set<std::string> blocks;
  for (const Block& block : fused.blocks()) blocks.insert(block.name);
  EXPECT(blocks == std::set<std::string>{"n0", "r0", "s", "n1", "n2", "module", "r3"});
}

TEST_CASE("fused networks: predicted traffic is what is counted, and the mask is in it") {
  const TrafficRules rules = traffic_rules("fused");
  for (const Network& network :
       {tests::inception_like(), tests::entangled(), tests::zoo_network("resnet20"),
        tests::zoo_network("resnet50"), tests::zoo_network("resnet20", Shortcut::b)}) {
    CAPTURE(network.name());
    const Network fused = fuse_relu(network);
    std::vector<Schedule> schedules = {layer_by_layer(fused, kBatch)};
    for (uint64_t seed = 0; seed < 5; ++seed)
      schedules.push_back(tests::random_schedule(fused, kBatch, seed));
    for (const Schedule& s : schedules)
      EXPECT(tests::counted_traffic(fused, s, rules) == predicted_traffic(fused, s, rules));
    const auto masks = [&](const Network& n) {
      return predicted_traffic(n, layer_by_layer(n, kBatch), rules).class_bytes(TrafficClass::masks);
    };
    EXPECT(masks(fused) == masks(network));
  }
}

TEST_CASE("fused norm and fused add, the bytes that are saved and spent, written out") {
  const auto chain = [](const std::string& norm, bool relu) {
    Network n("chain", {4, 6, 3});
    TensorId t = n.add("norm", norm, {n.add("conv", "conv2d out=8 kernel=3 pad=1", {n.input()})});
    if (relu) t = n.add("relu", "relu", {t});
    n.add("loss", "softmax_loss", {n.add("fc", "linear out=7", {t})});
    return n;
  };
  const auto traffic = [](const Network& n) {
    return predicted_traffic(n, layer_by_layer(n, kBatch), traffic_rules("fused"));
  };
  const int64_t tensor = 2 * kBatch * 4 * 6 * 8;  // bytes of 16-bit words
  const auto both = traffic(chain("group_norm groups=8", true)),
             fused = traffic(fuse_relu(chain("group_norm groups=8", true)));
  using enum TrafficClass;
  EXPECT(both.class_bytes(features) - fused.class_bytes(features) == 2 * tensor);  // between norm and ReLU
  EXPECT(both.class_bytes(feature_gradients) - fused.class_bytes(feature_gradients) == 2 * tensor);
  for (TrafficClass same : {stored_features, weights, weight_gradients, masks})
    EXPECT(both.class_bytes(same) == fused.class_bytes(same));
  EXPECT(fused.class_bytes(masks) == 2 * tensor / 16);  // a bit for 16, written and read
  EXPECT(traffic(chain("group_norm groups=8", false)).class_bytes(masks) == 0);

  Network sum("sum", {4, 6, 3});
  const TensorId a = sum.add("a", "conv2d out=8 kernel=1", {sum.input()});
  const TensorId b = sum.add("b", "conv2d out=8 kernel=1", {sum.input()});
  const TensorId r = sum.add("relu", "relu", {sum.add("add", "add", {a, b})});
  sum.add("loss", "softmax_loss", {sum.add("fc", "linear out=7", {r})});
  const auto two = traffic(sum), one = traffic(fuse_relu(sum));
  EXPECT(two.class_bytes(features) - one.class_bytes(features) == 2 * tensor);
  // Two gradients are written, where the ReLU's one served both convolutions.
  EXPECT(one.class_bytes(feature_gradients) - two.class_bytes(feature_gradients) == tensor);
}

TEST_CASE("training a fused network gives the same weights, bit for bit, in any order") {
  NetworkOptions options{.arch = "resnet8", .input = {8, 8, 3}};
  for (Shortcut shortcut : {Shortcut::a, Shortcut::b}) {
    options.shortcut = shortcut;
    const Network network = make_network(options), fused = fuse_relu(network);
    const std::vector<real> expected = train(network, layer_by_layer(network, kBatch));
    EXPECT(!same_bits(expected, initial_params(network, 3)));
    EXPECT(same_bits(expected, train(fused, planned(fused, Order::baseline))));
    const Schedule mbs2 = planned(fused, Order::mbs2);
    EXPECT(mbs2.passes.front().sub_batch < kBatch);  // it does split
    EXPECT(same_bits(expected, train(fused, mbs2)));
  }
  options.norm = Norm::batch;
  const Network coupled = make_network(options), coupled_fused = fuse_relu(coupled);
  EXPECT(same_bits(train(coupled, layer_by_layer(coupled, kBatch)),
                   train(coupled_fused, layer_by_layer(coupled_fused, kBatch))));
  // Sums of sums, a tensor added to itself, and dropout behind a layer that goes.
  for (const Network& network : {tests::entangled(), tests::inception_like()}) {
    CAPTURE(network.name());
    const Network fused = fuse_relu(network);
    const std::vector<real> expected = train(network, layer_by_layer(network, kBatch));
    for (uint64_t seed = 0; seed < 3; ++seed)
      EXPECT(same_bits(expected, train(fused, tests::random_schedule(fused, kBatch, seed))));
  }
}

}  // namespace mbs::testing
