// Predicted traffic against counted traffic, and both against sums written out by hand.
#include "mbs/traffic.h"
#include "tests/doctest.h"
#include "tests/mbs_networks.h"
#include "tests/random_schedule.h"

using namespace mbs;
using namespace mbs::tests;

namespace {

constexpr auto kFeatures = static_cast<size_t>(TrafficClass::features);
constexpr auto kStored = static_cast<size_t>(TrafficClass::stored_features);
constexpr auto kGradients = static_cast<size_t>(TrafficClass::feature_gradients);
constexpr auto kWeights = static_cast<size_t>(TrafficClass::weights);
constexpr auto kSums = static_cast<size_t>(TrafficClass::weight_gradients);
constexpr auto kMasks = static_cast<size_t>(TrafficClass::masks);

const TrafficRules kPaper = traffic_rules("paper");
constexpr int64_t kBytes = 2;  // of a feature, under the rules of the paper

// Forward and backward in groups that start at the given nodes.
Schedule in_groups(const Network& net, int batch, Reuse reuse, int sub_batch, std::vector<NodeId> first) {
  Schedule s{"test", batch, {}};
  first.push_back(net.node_count());
  for (size_t g = 0; g + 1 < first.size(); ++g)
    s.passes.push_back({Phase::forward, first[g], first[g + 1] - 1, sub_batch, reuse});
  for (size_t g = first.size() - 1; g-- > 0;)
    s.passes.push_back({Phase::backward, first[g], first[g + 1] - 1, sub_batch, reuse});
  return s;
}

// Both witnesses, which must agree.
Traffic traffic(const Network& net, const Schedule& schedule, const TrafficRules& rules = kPaper) {
  const Traffic predicted = predicted_traffic(net, schedule, rules);
  const Traffic counted = counted_traffic(net, schedule, rules);
  for (size_t c = 0; c < kTrafficClasses; ++c) {
    CAPTURE(std::string(kTrafficClassNames[c]));
    EXPECT(predicted.read_bytes[c] == counted.read_bytes[c]);
    EXPECT(predicted.write_bytes[c] == counted.write_bytes[c]);
  }
  return predicted;
}

// conv0 -> block { main: conv a1, a2; shortcut: conv b or none; add, relu } -> linear -> loss. Every feature
// has kD elements.
constexpr int64_t kIn = 5 * 7 * 3, kD = 5 * 7 * 8, kClasses = 10;
Network residual(bool projection) {
  Network n("residual", {5, 7, 3});
  const TensorId x = n.add("conv0", "conv2d out=8 kernel=1", {n.input()});
  n.begin_block("block", Block::Kind::residual);
  const TensorId a1 = n.add("a1", "conv2d out=8 kernel=3 pad=1", {x});
  const TensorId a2 = n.add("a2", "conv2d out=8 kernel=1", {a1});
  TensorId shortcut = x;
  if (projection) {
    n.next_branch();
    shortcut = n.add("b", "conv2d out=8 kernel=1", {x});
  }
  n.join();
  const TensorId r = n.add("relu", "relu", {n.add("add", "add", {a2, shortcut})});
  n.end_block();
  n.add("loss", "softmax_loss", {n.add("fc", "linear out=10", {r})});
  return n;
}

}  // namespace

TEST_CASE("a chain of layers, written out") {
  Network net("chain", {4, 6, 3});
  TensorId t = net.add("conv", "conv2d out=5 kernel=3 pad=1", {net.input()});
  t = net.add("norm", "group_norm groups=5", {t});
  t = net.add("relu", "relu", {t});
  t = net.add("fc", "linear out=7", {t});
  net.add("loss", "softmax_loss", {t});
  const int batch = 3;
  const int64_t x = 4 * 6 * 3, c = 4 * 6 * 5, logits = 7, loss = 1 + 7;
  const int64_t conv_w = 3 * 3 * 3 * 5, norm_w = 2 * 5, fc_w = c * 7 + 7;
  const int64_t unit = kBytes * batch;

  const Traffic base = traffic(net, layer_by_layer(net, batch));
  EXPECT(base.read_bytes[kFeatures] == unit * (x + 2 * c + c + c + logits));  // the norm reads twice
  EXPECT(base.write_bytes[kFeatures] == unit * (c + logits));  // of norm and fc; others are stored
  EXPECT(base.write_bytes[kStored] == unit * (c + c + loss));  // inputs of norm and fc; probabilities
  EXPECT(base.read_bytes[kStored] == unit * (x + 2 * c + c + loss));
  EXPECT(base.write_bytes[kGradients] == unit * (logits + 3 * c));
  EXPECT(base.read_bytes[kGradients] ==
         unit * (2 * logits + c + 2 * c + c));  // fc and norm twice; conv has no dx
  EXPECT(base.read_bytes[kMasks] == batch * c / 8);
  EXPECT(base.write_bytes[kMasks] == batch * c / 8);
  EXPECT(base.read_bytes[kWeights] == kBytes * (2 * (conv_w + norm_w + fc_w) - conv_w));
  EXPECT(base.write_bytes[kSums] == kBytes * (conv_w + norm_w + fc_w));
  EXPECT(base.read_bytes[kSums] == 0);

  for (Reuse reuse : {Reuse::chain, Reuse::group}) {
    const Traffic mbs = traffic(net, in_groups(net, batch, reuse, 2, {0}));  // 2 + 1 samples
    EXPECT(mbs.read_bytes[kFeatures] == unit * x);
    EXPECT(mbs.write_bytes[kFeatures] == 0);
    EXPECT(mbs.write_bytes[kStored] == base.write_bytes[kStored]);
    EXPECT(mbs.read_bytes[kStored] == unit * (x + c + c + loss));
    EXPECT(mbs.class_bytes(TrafficClass::feature_gradients) == 0);
    EXPECT(mbs.class_bytes(TrafficClass::masks) == base.class_bytes(TrafficClass::masks));
    EXPECT(mbs.read_bytes[kWeights] == 2 * base.read_bytes[kWeights]);
    EXPECT(mbs.write_bytes[kSums] == 2 * base.write_bytes[kSums]);
    EXPECT(mbs.read_bytes[kSums] == base.write_bytes[kSums]);
  }

  const Traffic inference = traffic(net, forward_only(net, batch, 2));
  EXPECT(inference.read_bytes[kFeatures] == unit * x);
  EXPECT(inference.write_bytes[kFeatures] == unit * loss);
  EXPECT(inference.total_bytes() == unit * (x + loss) + 2 * kBytes * (conv_w + norm_w + fc_w));
}

TEST_CASE("a residual block with an identity shortcut, written out") {
  const Network net = residual(false);
  const int batch = 5;
  const int64_t unit = kBytes * batch;
  const Traffic base = traffic(net, layer_by_layer(net, batch));
  EXPECT(base.read_bytes[kFeatures] == unit * (kIn + 4 * kD + 2 * kD + kClasses));  // the add reads two
  EXPECT(base.write_bytes[kFeatures] == unit * (kD + kD + kClasses));               // of a2, add, fc
  // loss, fc and relu write; the add hands on; a2 writes; a1 adds to what the add handed on.
  EXPECT(base.write_bytes[kGradients] == unit * (kClasses + 4 * kD));
  // fc twice, relu, a2 and a1 twice, the sum that a1 adds to, conv0 once.
  EXPECT(base.read_bytes[kGradients] == unit * (2 * kClasses + kD + 2 * kD + 2 * kD + kD + kD));

  const Traffic chain = traffic(net, in_groups(net, batch, Reuse::chain, 2, {0}));
  EXPECT(chain.read_bytes[kFeatures] == unit * (kIn + kD));  // the shortcut comes back from DRAM
  EXPECT(chain.write_bytes[kFeatures] == 0);                 // it was stored anyway
  EXPECT(chain.write_bytes[kGradients] == unit * kD);        // and its gradient waits there
  EXPECT(chain.read_bytes[kGradients] == unit * kD);

  const Traffic group = traffic(net, in_groups(net, batch, Reuse::group, 2, {0}));
  EXPECT(group.read_bytes[kFeatures] == unit * kIn);
  EXPECT(group.class_bytes(TrafficClass::feature_gradients) == 0);

  // A boundary before the block: x comes in once for both readers, its gradient is summed on chip and goes
  // out once.
  const Traffic cut = traffic(net, in_groups(net, batch, Reuse::group, 2, {0, 1}));
  EXPECT(cut.read_bytes[kFeatures] == unit * (kIn + kD));
  EXPECT(cut.write_bytes[kFeatures] == 0);
  EXPECT(cut.write_bytes[kGradients] == unit * kD);
  EXPECT(cut.read_bytes[kGradients] == unit * kD);

  // Without reuse between branches x comes in twice.
  const Traffic chain_cut = traffic(net, in_groups(net, batch, Reuse::chain, 2, {0, 1}));
  EXPECT(chain_cut.read_bytes[kFeatures] == unit * (kIn + 2 * kD));
  EXPECT(chain_cut.write_bytes[kGradients] == unit * 2 * kD);  // the shortcut's, and the sum
  EXPECT(chain_cut.read_bytes[kGradients] == unit * 2 * kD);
}

TEST_CASE("a residual block with a projection, written out") {
  const Network net = residual(true);
  const int batch = 5;
  const int64_t unit = kBytes * batch;
  const Traffic base = traffic(net, layer_by_layer(net, batch));
  // loss, fc, relu, b, a2 write; a1 adds to b's.
  EXPECT(base.write_bytes[kGradients] == unit * (kClasses + 5 * kD));
  // fc twice, relu, b, a2 and a1 twice, the sum, conv0.
  EXPECT(base.read_bytes[kGradients] == unit * (2 * kClasses + kD + 3 * 2 * kD + kD + kD));

  const Traffic chain = traffic(net, in_groups(net, batch, Reuse::chain, 2, {0}));
  EXPECT(chain.read_bytes[kFeatures] == unit * (kIn + kD + kD));  // x for b, and b for the add
  EXPECT(chain.write_bytes[kFeatures] == unit * kD);              // of b
  EXPECT(chain.write_bytes[kGradients] == unit * (kD + kD));      // of the block's output for b; of x by b
  EXPECT(chain.read_bytes[kGradients] == unit * (kD + kD));

  const Traffic group = traffic(net, in_groups(net, batch, Reuse::group, 2, {0}));
  EXPECT(group.read_bytes[kFeatures] == unit * kIn);
  EXPECT(group.class_bytes(TrafficClass::feature_gradients) == 0);
}

TEST_CASE("an inception module, written out") {
  const Network net = inception_like();
  const int batch = 3;
  const int64_t unit = kBytes * batch;
  const int64_t in = 9 * 7 * 3, pixels = 7 * 5;
  const int64_t x = 6 * pixels, whole = (4 + 5 + 6) * pixels, b1 = 3 * pixels;
  const Traffic chain = traffic(net, in_groups(net, batch, Reuse::chain, 2, {0}));
  EXPECT(chain.read_bytes[kFeatures] == unit * (in + 2 * x + whole));  // x for the second and third branch
  EXPECT(chain.write_bytes[kFeatures] == unit * whole);                // its readers (a pool) store nothing
  // The pool behind writes the whole, each branch reads its part. Of x: the third branch writes, the second
  // and first add; the last sum stays.
  EXPECT(chain.write_bytes[kGradients] == unit * (whole + 2 * x));
  EXPECT(chain.read_bytes[kGradients] == unit * (whole + 2 * x));

  const Traffic group = traffic(net, in_groups(net, batch, Reuse::group, 2, {0}));
  EXPECT(group.read_bytes[kFeatures] == unit * in);
  EXPECT(group.write_bytes[kFeatures] == 0);
  EXPECT(group.class_bytes(TrafficClass::feature_gradients) == 0);
  // Masks of three ReLUs, a byte for each output of the pool.
  const int64_t mask_bits = x + 4 * pixels + b1 + 5 * pixels;
  EXPECT(group.write_bytes[kMasks] == (batch * (mask_bits + 8 * 6 * pixels) + 7) / 8);
}

TEST_CASE("predicted and counted traffic agree for every order, network, buffer and batch") {
  struct Case {
    std::string arch;
    Shortcut shortcut;
    std::vector<int64_t> buffers;
    std::vector<int> batches;
  };
  const Case cases[] = {
      {"small_cnn", Shortcut::standard, {200 << 10, 1 << 20}, {1, 7, 37}},
      {"resnet8", Shortcut::a, {100 << 10, 333 << 10}, {1, 5, 37}},
      {"resnet8", Shortcut::b, {130 << 10, 10 << 20}, {5, 37}},
      {"resnet20", Shortcut::a, {256 << 10}, {37}},
      {"resnet56", Shortcut::b, {512 << 10}, {29}},
      {"resnet18", Shortcut::b, {10 << 20}, {13}},
      {"resnet50", Shortcut::b, {5 << 20, 10 << 20}, {11}},
  };
  for (const Case& c : cases) {
    const Network net = zoo_network(c.arch, c.shortcut);
    for (int64_t buffer : c.buffers) {
      for (int batch : c.batches) {
        for (const std::string& order : all_words<Order>()) {
          CAPTURE(c.arch);
          CAPTURE(buffer);
          CAPTURE(batch);
          CAPTURE(order);
          const TrafficRules rules = traffic_rules(batch % 2 == 0 ? "paper" : "conservative");
          const Plan plan = make_plan(net, {parse_word<Order>(order), batch, buffer, rules});
          EXPECT(traffic(net, plan.schedule, rules) == plan.predicted);
        }
      }
    }
  }
}

TEST_CASE("they agree for modules, shared operands and odd widths") {
  TrafficRules odd{"odd", Space::in_place, 5, 3, 7};  // bits that do not fill bytes
  for (const Network& net : {inception_like(), entangled(), residual(false), residual(true)}) {
    for (int batch : {1, 6, 11}) {
      for (Reuse reuse : {Reuse::none, Reuse::chain, Reuse::group}) {
        CAPTURE(net.name());
        CAPTURE(batch);
        for (int block = 0; block < static_cast<int>(net.blocks().size()); ++block) {
          const NodeId cut = net.blocks()[static_cast<size_t>(block)].first;
          const std::vector<NodeId> first = cut == 0 ? std::vector<NodeId>{0} : std::vector<NodeId>{0, cut};
          traffic(net, in_groups(net, batch, reuse, std::min(batch, 4), first), odd);
        }
      }
    }
  }
}

TEST_CASE("they agree for random schedules") {
  for (uint64_t seed = 0; seed < 36; ++seed) {
    CAPTURE(seed);
    for (const Network& net :
         {residual(false), residual(true), inception_like(), entangled(), zoo_network("resnet8")}) {
      CAPTURE(net.name());
      traffic(net, random_schedule(net, 7, seed));
    }
  }
}

TEST_CASE("iterations multiply the traffic of parameters and nothing else") {
  const Network net = zoo_network("resnet8");
  const int batch = 12;
  const Traffic once = traffic(net, in_groups(net, batch, Reuse::group, batch, {0}));
  const int64_t stem = 3 * 3 * 3 * 16;  // weights of the first convolution, which are not read backward
  EXPECT(once.read_bytes[kWeights] == kBytes * (2 * net.parameter_count() - stem));
  for (int sub_batch : {6, 5, 1}) {
    const int64_t iterations = (batch + sub_batch - 1) / sub_batch;
    Traffic expected = once;
    expected.read_bytes[kWeights] *= iterations;
    expected.write_bytes[kSums] = kBytes * iterations * net.parameter_count();
    expected.read_bytes[kSums] = kBytes * (iterations - 1) * net.parameter_count();
    EXPECT(traffic(net, in_groups(net, batch, Reuse::group, sub_batch, {0})) == expected);
  }
}

TEST_CASE("the classes sum up to the total") {
  const Network net = zoo_network("resnet8");
  Traffic sum = predicted_traffic(net, layer_by_layer(net, 3), kPaper);
  int64_t total = 0;
  for (size_t c = 0; c < kTrafficClasses; ++c) total += sum.class_bytes(static_cast<TrafficClass>(c));
  EXPECT(sum.total_bytes() == total);
  sum += sum;
  EXPECT(sum.total_bytes() == 2 * total);
}
