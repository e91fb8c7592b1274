// What the network builders share. Only layers/zoo/ includes this.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "layers/zoo/zoo.h"

namespace mbs {

/// What batch norm adds to the variance where a network was published with nothing else.
inline constexpr double kBatchEps = 1e-5;

/// Adds a convolution, whose specification is `spec`, as node `conv`, and after it, as node `norm`, the norm
/// that the options ask for. Error (usage): group norm that does not divide the channels.
TensorId add_conv_norm(Network&, const NetworkOptions&, const std::string& conv, const std::string& norm,
                       const std::string& spec, TensorId x, double batch_eps = kBatchEps);

/// The end of a network: global average pool, dropout, fully connected layer.
struct Head {
  double dropout = 0;         ///< its rate; 0: no such layer
  std::string linear = "fc";  ///< name of the fully connected layer
};

/// Adds avgpool (global), dropout and linear as `Head` says and, where wanted, loss.
void add_classifier(Network&, const NetworkOptions&, TensorId x, const Head& = {});

/// Adds the loss where the options want one.
void add_loss(Network&, const NetworkOptions&, TensorId logits);

/// The shape of a residual network.
struct ResNetPlan {
  std::array<int, 4> blocks;  ///< residual blocks of each stage; 0: no such stage
  int width;          ///< channels of the stem and of the first stage (before a bottleneck's expansion)
  bool bottleneck;    ///< 1x1, 3x3, 1x1 with four times the channels at the end, instead of 3x3, 3x3
  Stem stem;          ///< as published
  Shortcut shortcut;  ///< as published
};

/// A layer of an inception network. A specification that starts with "out=" stands for the attributes of a
/// convolution, followed by norm and ReLU: nodes NAME.conv, NAME.bn and NAME.relu. Any other is one layer.
struct UnitSpec {
  std::string name, spec;
};

/// One branch of an inception module.
struct BranchSpec {
  std::vector<UnitSpec> units;
  std::string from = "";  ///< the unit of an earlier branch that it reads; empty: the module's input
};

/// Adds one unit, whose nodes are named as it is.
TensorId add_unit(Network&, const NetworkOptions&, const UnitSpec&, TensorId x);

/// Adds a module: a block of its branches and of NAME.concat, which joins their ends in order. Nodes are
/// named NAME.unit. Where a published module concatenates inside a branch, the parts are branches of their
/// own here: the one concatenation of all parts is the same tensor.
TensorId add_module(Network&, const NetworkOptions&, const std::string& name, TensorId x,
                    const std::vector<BranchSpec>& branches);

Network build_resnet(const NetworkOptions&, const ResNetPlan&);
Network build_small_cnn(const NetworkOptions&);
Network build_inception_v3(const NetworkOptions&);
Network build_inception_v4(const NetworkOptions&);
Network build_alexnet(const NetworkOptions&);

}  // namespace mbs
