// The networks against what is published about them: parameters, keys, work, convolutions; and that blocks
// and branches are what the planner takes them for.
#include <fmt/core.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "engine/check.h"
#include "layers/zoo/zoo.h"
#include "tests/doctest.h"

namespace mbs {
namespace {

NetworkOptions published(const std::string& arch, Norm norm) {
  NetworkOptions options;
  options.arch = arch;
  options.norm = norm;
  for (const ArchInfo& info : architectures())
    if (info.name == arch) options.input = info.input;
  if (options.input.h > 32) options.classes = 1000;
  return options;
}

bool is_conv(const Node& node) { return node.spec.starts_with("conv2d"); }

int convolutions(const Network& network) {
  int count = 0;
  for (const Node& node : network.nodes()) count += is_conv(node);
  return count;
}

int64_t forward_macs(const Network& network) {
  int64_t macs = 0;
  for (const Node& node : network.nodes())
    for (const GemmShape& g : node.layer->gemms(Phase::forward, 1, false)) macs += g.macs();
  return macs;
}

std::string error_of(const NetworkOptions& options) {
  try {
    make_network(options);
  } catch (const Error& e) {
    EXPECT(e.kind() == ErrorKind::usage);
    return e.what();
  }
  return "";
}

TEST_CASE("zoo: CIFAR networks have the published number of parameters") {
  // Per stage of n blocks: 2n convolutions 3x3 without bias, each with a norm of two values per channel; the
  // first of a later stage reads half the channels. Shortcuts (option A) have none.
  const auto parameters = [](int64_t n) {
    const int64_t stem = 9 * 3 * 16 + 2 * 16;
    const int64_t stage1 = 2 * n * (9 * 16 * 16 + 2 * 16);
    const int64_t stage2 = 9 * 16 * 32 + (2 * n - 1) * 9 * 32 * 32 + 2 * n * 2 * 32;
    const int64_t stage3 = 9 * 32 * 64 + (2 * n - 1) * 9 * 64 * 64 + 2 * n * 2 * 64;
    return stem + stage1 + stage2 + stage3 + 64 * 10 + 10;
  };
  EXPECT(parameters(3) == 269'722);
  // Each stage quarters the pixels; a weight of a 3x3 convolution is used once per pixel of its output.
  const auto macs = [](int64_t n) {
    const int64_t stage1 = 3 * 16 + 2 * n * 16 * 16;
    const int64_t stage2 = 16 * 32 + (2 * n - 1) * 32 * 32;
    const int64_t stage3 = 32 * 64 + (2 * n - 1) * 64 * 64;
    return 9 * (32 * 32 * stage1 + 16 * 16 * stage2 + 8 * 8 * stage3) + 64 * 10;
  };
  struct Row {
    std::string arch;
    int64_t blocks;
    double millions, digit;  // He et al. 2015, table 6, and the unit of its last digit
  };
  for (const Row& row :
       {Row{"resnet20", 3, 0.27, 0.01}, Row{"resnet32", 5, 0.46, 0.01}, Row{"resnet44", 7, 0.66, 0.01},
        Row{"resnet56", 9, 0.85, 0.01}, Row{"resnet110", 18, 1.7, 0.1}}) {
    CAPTURE(row.arch);
    const Network network = make_network(published(row.arch, Norm::batch));
    EXPECT(network.parameter_count() == parameters(row.blocks));
    EXPECT(std::abs(static_cast<double>(network.parameter_count()) * 1e-6 - row.millions) <= row.digit / 2);
    EXPECT(forward_macs(network) == macs(row.blocks));
    EXPECT(convolutions(network) == 1 + 6 * row.blocks);
    EXPECT(make_network(published(row.arch, Norm::group)).parameter_count() == network.parameter_count());
  }
}

TEST_CASE("zoo: ImageNet networks have the parameters and entries of torchvision's and timm's") {
  struct Row {
    std::string arch;
    int64_t parameters;
    int entries;  // of the state_dict with batch norm
    int convolutions;
    double giga_macs;
  };
  for (const Row& row :
       {Row{"resnet18", 11'689'512, 122, 20, 1.814}, Row{"resnet34", 21'797'672, 218, 36, 3.664},
        Row{"resnet50", 25'557'032, 320, 53, 4.089}, Row{"resnet101", 44'549'160, 626, 104, 7.801},
        Row{"resnet152", 60'192'808, 932, 155, 11.514},
        // A convolution has one entry and its norm five; the last layer has two.
        Row{"inception_v3", 23'834'568, 94 * 6 + 2, 94, 5.713},
        Row{"inception_v4", 42'679'816, 149 * 6 + 2, 149, 12.254}}) {
    CAPTURE(row.arch);
    const Network network = make_network(published(row.arch, Norm::batch));
    EXPECT(network.parameter_count() == row.parameters);
    EXPECT(convolutions(network) == row.convolutions);
    EXPECT(std::abs(static_cast<double>(forward_macs(network)) * 1e-9 - row.giga_macs) < 0.0006);
    // A norm has two parameters and two states here, and torchvision's num_batches_tracked besides.
    const int states = static_cast<int>(network.states().size());
    EXPECT(static_cast<int>(network.params().size()) + states + states / 2 == row.entries);
    EXPECT(make_network(published(row.arch, Norm::group)).states().empty());
  }
}

TEST_CASE("zoo: alexnet has the parameters of the one-tower network") {
  const Network network = make_network(published("alexnet", Norm::group));
  EXPECT(network.parameter_count() == 62'378'344);
  EXPECT(convolutions(network) == 5);
  EXPECT(network.states().empty());
  std::string keys;
  for (const ParamInfo& p : network.params()) keys += p.key + " ";
  EXPECT(keys ==
         "features.0.weight features.0.bias features.3.weight features.3.bias features.6.weight "
         "features.6.bias features.8.weight features.8.bias features.10.weight features.10.bias "
         "classifier.1.weight classifier.1.bias classifier.4.weight classifier.4.bias classifier.6.weight "
         "classifier.6.bias ");
}

// What the planner relies on in a residual block: nodes of branch 0, then of branch 1 (if any), then add and
// ReLU; the add reads the main branch first.
void check_residual_block(const Network& network, const Block& block) {
  const Node& add = network.node(block.last - 1);
  EXPECT(add.branch == kJoin);
  EXPECT(add.spec == "add");
  EXPECT(network.node(block.last).branch == kJoin);
  EXPECT(network.node(block.last).spec == "relu");
  int branch = 0;
  TensorId last[2] = {-1, network.node(block.first).in[0]};  // identity: the block's input
  for (NodeId n = block.first; n < block.last - 1; ++n) {
    EXPECT((network.node(n).branch == branch || network.node(n).branch == branch + 1));
    branch = network.node(n).branch;
    REQUIRE((branch == 0 || branch == 1));
    last[branch] = network.node(n).out;
  }
  EXPECT(add.in == std::vector<TensorId>{last[0], last[1]});
}

// What the planner relies on in an inception module: branches one after the other, each a chain that starts
// at the block's input or at a layer of an earlier branch; then the concatenation of their ends.
void check_inception_block(const Network& network, const Block& block) {
  const Node& concat = network.node(block.last);
  EXPECT(concat.branch == kJoin);
  EXPECT(concat.spec == "concat");
  const TensorId input = network.node(block.first).in[0];
  std::vector<TensorId> ends;
  for (NodeId n = block.first; n < block.last; ++n) {
    const Node& node = network.node(n);
    REQUIRE(node.in.size() == 1);
    if (node.branch == static_cast<int>(ends.size()) - 1) {
      EXPECT(node.in[0] == ends.back());
    } else {
      REQUIRE(node.branch == static_cast<int>(ends.size()));
      EXPECT((node.in[0] == input || network.tensor(node.in[0]).producer >= block.first));
      ends.push_back(-1);
    }
    ends.back() = node.out;
  }
  EXPECT(concat.in == ends);
}

TEST_CASE("zoo: blocks cover the nodes in order, and every key is unique") {
  for (const ArchInfo& info : architectures()) {
    for (const Norm norm : {Norm::group, Norm::batch}) {
      if (info.name == "alexnet" && norm == Norm::batch) continue;  // it has no norm
      CAPTURE(info.name);
      const Network network = make_network(published(info.name, norm));
      EXPECT(network.name() == info.name);
      EXPECT(network.has_loss());
      NodeId next = 0;
      for (size_t b = 0; b < network.blocks().size(); ++b) {
        const Block& block = network.blocks()[b];
        EXPECT(block.first == next);
        next = block.last + 1;
        for (NodeId n = block.first; n <= block.last; ++n)
          EXPECT(network.node(n).block == static_cast<int>(b));
        if (block.kind == Block::Kind::plain) {
          EXPECT(block.first == block.last);
        } else if (block.kind == Block::Kind::residual) {
          check_residual_block(network, block);
        } else {
          check_inception_block(network, block);
        }
      }
      EXPECT(next == network.node_count());
      std::set<std::string> keys;
      for (const ParamInfo& p : network.params()) EXPECT(keys.insert(p.key).second);
      for (const StateInfo& s : network.states()) EXPECT(keys.insert(s.key).second);
    }
  }
}

TEST_CASE("zoo: stem, shortcut, loss and smoothing follow the options") {
  NetworkOptions options = published("resnet18", Norm::group);
  options.input = {32, 32, 3};
  options.stem = Stem::cifar;
  const auto shape_of = [](const Network& network, const std::string& name) {
    for (const Node& node : network.nodes())
      if (node.name == name) return node.layer->out_shape();
    return Shape{0, 0, 0};
  };
  Network network = make_network(options);
  EXPECT(shape_of(network, "conv1") == Shape{32, 32, 64});
  EXPECT(shape_of(network, "maxpool") == Shape{0, 0, 0});
  EXPECT(shape_of(network, "layer4.1.relu") == Shape{4, 4, 512});  // 32 halved three times

  options.shortcut = Shortcut::a;
  network = make_network(options);
  EXPECT(shape_of(network, "layer2.0.shortcut") == Shape{16, 16, 128});
  EXPECT(shape_of(network, "layer2.0.downsample.0") == Shape{0, 0, 0});

  options = {};
  options.shortcut = Shortcut::b;
  options.loss = false;
  options.classes = 7;
  network = make_network(options);
  // Option B: two 1x1 projections, each with a norm.
  EXPECT(network.parameter_count() == 269'722 - 65 * 3 + (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64));
  EXPECT(network.nodes().back().name == "fc");
  EXPECT(!network.has_loss());

  options.loss = true;
  options.label_smoothing = 0.1;
  EXPECT(make_network(options).nodes().back().spec == "softmax_loss smoothing=0.1");
}

TEST_CASE("zoo: group norm groups follow network and options") {
  const auto norms = [](const NetworkOptions& options) {
    const Network network = make_network(options);
    std::set<std::string> specs;
    for (const Node& node : network.nodes())
      if (node.spec.starts_with("group_norm")) specs.insert(node.spec);
    return specs;
  };
  NetworkOptions options;
  // 32 groups, but no more than there are channels: stages of 16, 32 and 64.
  EXPECT(norms(options) == std::set<std::string>{"group_norm groups=16", "group_norm groups=32"});
  options.gn_channels = 4;
  EXPECT(norms(options) == std::set<std::string>{"group_norm channels=4"});
  options.gn_channels = 0;
  options.gn_groups = 4;
  EXPECT(norms(options) == std::set<std::string>{"group_norm groups=4"});
  EXPECT(norms(published("resnet50", Norm::group)) == std::set<std::string>{"group_norm groups=32"});
  // 32 does not divide 48 and 80 channels; 24 and 20 are the most below it that do.
  options = published("inception_v3", Norm::group);
  const std::set<std::string> fewer = {"group_norm groups=20", "group_norm groups=24",
                                       "group_norm groups=32"};
  EXPECT(norms(options) == fewer);
  options.gn_groups = kDefaultGnGroups;  // as a configuration file that spells out the default has it
  EXPECT(norms(options) == fewer);
  options.gn_groups = 16;
  EXPECT(norms(options) == std::set<std::string>{"group_norm groups=16"});
  EXPECT(norms(published("inception_v4", Norm::group)) == std::set<std::string>{"group_norm groups=32"});
}

TEST_CASE("zoo: every network takes images of its smallest size, and says so where they are smaller") {
  for (const ArchInfo& info : architectures()) {
    CAPTURE(info.name);
    NetworkOptions options;
    options.arch = info.name;
    options.input.h = options.input.w = info.smallest_size;
    const Network network = make_network(options);
    EXPECT(network.tensor(network.output()).shape.elems() == 1 + 10);  // the loss, and a probability a class
    for (int* side : {&options.input.h, &options.input.w}) {
      --*side;
      if (info.smallest_size > 1)
        EXPECT(error_of(options).find(fmt::format("it needs {0}x{0} or more (--image-size {0})",
                                                  info.smallest_size)) != std::string::npos);
      ++*side;
    }
  }
}

TEST_CASE("zoo: the smallest size is the least that leaves a pixel at the end") {
  const auto halved = [](int size) { return (size - 1) / 2; };  // 3x3 window at stride 2, no padding
  // Inception-v3: convolution, 3x3 without padding, pool, 3x3 without padding, pool, two modules.
  // Inception-v4 does the same with modules for pools.
  const auto inception = [&](int n) { return halved(halved(halved(halved(halved(n) - 2) - 2))); };
  const auto alexnet = [&](int n) { return halved(halved(halved((n - 11) / 4 + 1))); };
  EXPECT(inception(75) == 1);
  EXPECT(inception(74) == 0);
  EXPECT(alexnet(67) == 1);
  EXPECT(alexnet(66) == 0);
}

TEST_CASE("zoo: wrong options are usage errors that say what to do") {
  NetworkOptions options;
  options.arch = "resnet21";
  EXPECT(error_of(options).find("small_cnn, resnet8, resnet20") != std::string::npos);

  options = {};
  options.gn_groups = 5;  // the stem has 16 channels
  EXPECT(error_of(options).find(
             "'bn1': 5 groups (--gn-groups) do not divide its 16 channels; what divides: 1, 2, 4, 8, 16") !=
         std::string::npos);
  options.gn_channels = 8;
  EXPECT(error_of(options).find("not both") != std::string::npos);
  options.gn_groups = 0;
  options.norm = Norm::batch;
  EXPECT(error_of(options).find("--norm bn") != std::string::npos);

  options = {};
  options.gn_channels = 6;
  EXPECT(error_of(options).find("6 channels per group (--gn-channels)") != std::string::npos);
  options.gn_channels = -1;
  EXPECT(error_of(options).find("negative") != std::string::npos);

  options = {};
  options.classes = 1;
  EXPECT(error_of(options).find("at least 2") != std::string::npos);
  options = {};
  options.label_smoothing = 1;
  EXPECT(error_of(options).find("smoothing") != std::string::npos);
  options = {};
  options.input.c = 0;
  EXPECT(error_of(options).find("empty") != std::string::npos);
  options = {};
  options.arch = "small_cnn";
  options.stem = Stem::imagenet;
  EXPECT(error_of(options).find("--stem") != std::string::npos);

  options = published("inception_v3", Norm::group);
  options.gn_groups = 48;
  EXPECT(error_of(options).find("'Conv2d_2b_3x3.bn': 48 groups (--gn-groups) do not divide its 64") !=
         std::string::npos);
  options = published("alexnet", Norm::batch);
  EXPECT(error_of(options).find("has no norm to choose") != std::string::npos);
  options = published("alexnet", Norm::group);
  options.gn_groups = kDefaultGnGroups;  // the default, spelled out
  EXPECT(error_of(options) == "");
  options.gn_channels = 8;
  options.gn_groups = 0;
  EXPECT(error_of(options).find("has no norm to choose") != std::string::npos);
  options.gn_channels = 0;
  options.weight_standardization = true;
  EXPECT(error_of(options).find("--weight-standardization") != std::string::npos);
}

}  // namespace
}  // namespace mbs
