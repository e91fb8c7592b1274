// The names of nodes and parameters, which are torchvision's and timm's; what modules are made of, and what
// they need on chip.
#include <fmt/core.h>

#include <algorithm>
#include <string>
#include <vector>

#include "mbs/footprint.h"
#include "tests/doctest.h"
#include "tests/mbs_networks.h"

namespace mbs {
namespace {

/// One line for each node of a block that is no norm and no ReLU: branch (-: the join), name, attributes of a
/// convolution.
std::string names_in_block(const Network& network, const std::string& name) {
  std::string names;
  for (const Block& block : network.blocks())
    if (block.name == name)
      for (NodeId n = block.first; n <= block.last; ++n) {
        const Node& node = network.node(n);
        const std::string what =
            node.spec.starts_with("conv2d") ? ":" + node.spec.substr(node.spec.find("out=")) : "";
        if (node.name.ends_with(".bn") || node.name.ends_with(".relu")) continue;
        names += fmt::format("{}{}{}\n", node.branch == kJoin ? "-" : std::to_string(node.branch),
                             node.name.substr(name.size()), what);
      }
  return names;
}

TEST_CASE("zoo: modules of the Inception networks are named as in torchvision and timm") {
  const Network v3 = tests::zoo_network("inception_v3", Shortcut::standard, Norm::batch);
  EXPECT(v3.params()[0].key == "Conv2d_1a_3x3.conv.weight");
  EXPECT(v3.params()[1].key == "Conv2d_1a_3x3.bn.weight");
  EXPECT(v3.node(1).spec == "batch_norm eps=0.001");
  EXPECT(names_in_block(v3, "Mixed_7b") ==
         "0.branch1x1.conv:out=320 kernel=1\n"
         "1.branch3x3_1.conv:out=384 kernel=1\n"
         "1.branch3x3_2a.conv:out=384 kernel=1x3 pad=0x1\n"
         "2.branch3x3_2b.conv:out=384 kernel=3x1 pad=1x0\n"
         "3.branch3x3dbl_1.conv:out=448 kernel=1\n"
         "3.branch3x3dbl_2.conv:out=384 kernel=3 pad=1\n"
         "3.branch3x3dbl_3a.conv:out=384 kernel=1x3 pad=0x1\n"
         "4.branch3x3dbl_3b.conv:out=384 kernel=3x1 pad=1x0\n"
         "5.avgpool\n"
         "5.branch_pool.conv:out=192 kernel=1\n"
         "-.concat\n");
  const Network v4 = tests::zoo_network("inception_v4", Shortcut::standard, Norm::batch);
  EXPECT(v4.params().back().key == "last_linear.bias");
  EXPECT(names_in_block(v4, "features.3") == "0.maxpool\n1.conv.conv:out=96 kernel=3 stride=2\n-.concat\n");
  EXPECT(names_in_block(v4, "features.18") ==
         "0.branch0.0.conv:out=192 kernel=1\n"
         "0.branch0.1.conv:out=192 kernel=3 stride=2\n"
         "1.branch1.0.conv:out=256 kernel=1\n"
         "1.branch1.1.conv:out=256 kernel=1x7 pad=0x3\n"
         "1.branch1.2.conv:out=320 kernel=7x1 pad=3x0\n"
         "1.branch1.3.conv:out=320 kernel=3 stride=2\n"
         "2.branch2\n"
         "-.concat\n");
}

TEST_CASE("zoo: nodes and keys are named as in torchvision, main branch before shortcut") {
  const Network network = tests::zoo_network("resnet50", Shortcut::standard, Norm::batch);
  std::vector<std::string> names;
  for (const Node& node : network.nodes()) names.push_back(node.name);
  const std::vector<std::string> start = {"conv1",
                                          "bn1",
                                          "relu",
                                          "maxpool",
                                          "layer1.0.conv1",
                                          "layer1.0.bn1",
                                          "layer1.0.relu1",
                                          "layer1.0.conv2",
                                          "layer1.0.bn2",
                                          "layer1.0.relu2",
                                          "layer1.0.conv3",
                                          "layer1.0.bn3",
                                          "layer1.0.downsample.0",
                                          "layer1.0.downsample.1",
                                          "layer1.0.add",
                                          "layer1.0.relu",
                                          "layer1.1.conv1"};
  EXPECT(std::vector<std::string>(names.begin(), names.begin() + 17) == start);
  EXPECT(std::vector<std::string>(names.end() - 3, names.end()) ==
         std::vector<std::string>{"avgpool", "fc", "loss"});
  EXPECT(network.params()[0].key == "conv1.weight");
  EXPECT(network.params().back().key == "fc.bias");
  EXPECT(network.states()[1].key == "bn1.running_var");
  // v1.5: the stride of a stage sits in the 3x3 convolution of its first block.
  for (const Node& node : network.nodes())
    if (node.name == "layer2.0.conv2" || node.name == "layer2.0.downsample.0")
      EXPECT(node.layer->out_shape() == Shape{28, 28, node.name == "layer2.0.conv2" ? 128 : 512});
}

TEST_CASE("zoo: the hungriest block of the networks with the largest features") {
  const auto largest = [](const std::string& arch, Sharing sharing) {
    const Network network = tests::zoo_network(arch);
    int64_t bytes = 0;
    for (const Block& block : network.blocks())
      bytes = std::max(bytes, footprint_bytes(network, block, Space::out_of_place, sharing, 16));
    return bytes;
  };
  // The last stem convolution before a pool: norm and ReLU read and write 64 channels of 147x147.
  const int64_t stem = 2 * (2 * 64 * 147 * 147);
  EXPECT(largest("inception_v3", Sharing::within_branch) == stem);
  EXPECT(largest("inception_v3", Sharing::across_branches) == stem);
  EXPECT(largest("inception_v4", Sharing::within_branch) == stem);
  // The first module: its input, its output of 160 channels, and two private tensors of 96 (the convolution's
  // and the norm's; the ReLU writes into the output).
  EXPECT(largest("inception_v4", Sharing::across_branches) ==
         2 * (64 * 147 * 147 + 160 * 73 * 73 + 2 * 96 * 73 * 73));
  // The first ReLU.
  EXPECT(largest("alexnet", Sharing::within_branch) == 2 * (2 * 96 * 55 * 55));
}

}  // namespace
}  // namespace mbs
