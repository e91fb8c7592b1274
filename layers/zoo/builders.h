// What the network builders share. Only layers/zoo/ includes this.
#pragma once

#include <array>
#include <string>

#include "layers/zoo/zoo.h"

namespace mbs {

/// Adds the norm that the options ask for as node `name`. Error (usage): group norm that does not divide the
/// channels.
TensorId add_norm(Network&, const NetworkOptions&, const std::string& name, TensorId x);

/// Adds avgpool (global), fc and, where wanted, loss.
void add_classifier(Network&, const NetworkOptions&, TensorId x);

/// The shape of a residual network.
struct ResNetPlan {
  std::array<int, 4> blocks;  ///< residual blocks of each stage; 0: no such stage
  int width;          ///< channels of the stem and of the first stage (before a bottleneck's expansion)
  bool bottleneck;    ///< 1x1, 3x3, 1x1 with four times the channels at the end, instead of 3x3, 3x3
  Stem stem;          ///< as published
  Shortcut shortcut;  ///< as published
};

Network build_resnet(const NetworkOptions&, const ResNetPlan&);
Network build_small_cnn(const NetworkOptions&);

}  // namespace mbs
