// The networks: each a function from options to a Network, made of single layers (no fused ones). Names of
// nodes, and so the keys of parameters, are torchvision's; those of inception_v4, which it does not have, are
// timm's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/network.h"
#include "engine/words.h"

namespace mbs {

/// Which normalisation follows a convolution.
enum class Norm : uint8_t { group, batch };
constexpr auto words_of(Norm) { return EnumWords{"norm", "gn", "bn"}; }

/// How a residual block's shortcut changes its shape. A: every second pixel, new channels zero, no parameters
/// (He et al. 2015, section 3.3). B: 1x1 convolution and norm.
enum class Shortcut : uint8_t { standard /* A for the CIFAR networks, B for the ImageNet ones */, a, b };
constexpr auto words_of(Shortcut) { return EnumWords{"shortcut", "auto", "a", "b"}; }

/// What stands before the first block. cifar: convolution 3x3. imagenet: convolution 7x7 stride 2, max pool
/// 3x3 stride 2.
enum class Stem : uint8_t { standard /* as published for the network */, cifar, imagenet };
constexpr auto words_of(Stem) { return EnumWords{"stem", "auto", "cifar", "imagenet"}; }

/// Groups of a group norm where the options name none: Wu and He, "Group Normalization", 2018, take 32. The
/// CIFAR networks start at 16 channels, each of which is then a group; of 32 groups, 8 and 16 channels per
/// group this trains best (docs/results.md). Where 32 does not divide the channels, the largest smaller
/// number that does: 24 groups of the 48 channels and 20 of the 80 channels of Inception-v3, the only such
/// layers.
inline constexpr int kDefaultGnGroups = 32;

/// What a network is made from.
struct NetworkOptions {
  std::string arch = "resnet20";
  Shape input{32, 32, 3};  ///< of one sample; ArchInfo::input is what the network was published for
  int classes = 10;
  Norm norm = Norm::group;
  /// Groups of every group norm, no more than it has channels, which they must divide; only
  /// kDefaultGnGroups, named or not, gives way where it does not. At most one of the two is not 0.
  int gn_groups = 0;
  int gn_channels = 0;                  ///< channels per group of every group norm; both 0: kDefaultGnGroups
  bool weight_standardization = false;  ///< of every convolution that a norm follows
  Shortcut shortcut = Shortcut::standard;
  Stem stem = Stem::standard;
  double label_smoothing = 0;
  bool loss = true;  ///< false: the last node is the last linear layer, whose output are the logits
};

/// One line of the list of networks.
struct ArchInfo {
  std::string name;
  std::string summary;
  Shape input;        ///< of one sample, as published
  int smallest_size;  ///< the least height and width of an input
};

/// All networks, small ones first.
std::vector<ArchInfo> architectures();

/// Builds a network. Error (usage): an unknown network (the message lists all), options that contradict each
/// other, a group norm that does not divide its channels (names the layer and what divides), or an input that
/// is too small.
Network make_network(const NetworkOptions&);

}  // namespace mbs
