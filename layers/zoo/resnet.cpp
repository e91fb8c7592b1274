// Residual networks: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015
// (arXiv:1512.03385). CIFAR networks of section 4.2: depth 6n + 2, three stages of n blocks with 16, 32 and
// 64 channels. ImageNet networks of table 1. A bottleneck strides in its 3x3 convolution, as torchvision's
// do.
#include <fmt/core.h>

#include <utility>

#include "layers/zoo/builders.h"

namespace mbs {
namespace {

constexpr int kExpansion = 4;  // a bottleneck's output channels / its inner channels

/// Options and plan with nothing left open, and the network that grows.
struct Builder {
  const NetworkOptions& options;
  bool bottleneck;
  Shortcut shortcut;
  Network network;

  int channels(TensorId x) const { return network.tensor(x).shape.c; }

  TensorId conv_norm(const std::string& conv, const std::string& norm, const std::string& spec, TensorId x) {
    return add_conv_norm(network, options, conv, norm, spec, x);
  }
  TensorId relu(const std::string& name, TensorId x) { return network.add(name, "relu", {x}); }
};

TensorId add_stem(Builder& b, Stem stem, int width) {
  const bool large = stem == Stem::imagenet;
  const std::string conv =
      fmt::format("conv2d out={} {}", width, large ? "kernel=7 stride=2 pad=3" : "kernel=3 pad=1");
  TensorId x = b.conv_norm("conv1", "bn1", conv, b.network.input());
  x = b.relu("relu", x);
  return large ? b.network.add("maxpool", "max_pool kernel=3 stride=2 pad=1", {x}) : x;
}

TensorId add_main_branch(Builder& b, const std::string& block, TensorId x, int width, int stride) {
  const auto conv3x3 = [](int out, int step) {
    return fmt::format("conv2d out={} kernel=3 stride={} pad=1", out, step);
  };
  const auto conv1x1 = [](int out) { return fmt::format("conv2d out={} kernel=1", out); };
  const auto step = [&](int k, const std::string& spec) {
    return b.conv_norm(fmt::format("{}.conv{}", block, k), fmt::format("{}.bn{}", block, k), spec, x);
  };
  x = step(1, b.bottleneck ? conv1x1(width) : conv3x3(width, stride));
  x = b.relu(block + ".relu1", x);
  x = step(2, conv3x3(width, b.bottleneck ? stride : 1));
  if (!b.bottleneck) return x;
  x = b.relu(block + ".relu2", x);
  return step(3, conv1x1(width * kExpansion));
}

TensorId add_shortcut(Builder& b, const std::string& block, TensorId x, int out, int stride) {
  if (stride == 1 && b.channels(x) == out) return x;
  b.network.next_branch();
  if (b.shortcut == Shortcut::a)
    return b.network.add(block + ".shortcut", fmt::format("pad_shortcut out={} stride={}", out, stride), {x});
  return b.conv_norm(block + ".downsample.0", block + ".downsample.1",
                     fmt::format("conv2d out={} kernel=1 stride={}", out, stride), x);
}

TensorId add_block(Builder& b, const std::string& block, TensorId x, int width, int stride) {
  b.network.begin_block(block, Block::Kind::residual);
  const TensorId main = add_main_branch(b, block, x, width, stride);
  const TensorId shortcut = add_shortcut(b, block, x, b.channels(main), stride);
  b.network.join();
  x = b.relu(block + ".relu", b.network.add(block + ".add", "add", {main, shortcut}));
  b.network.end_block();
  return x;
}

}  // namespace

Network build_resnet(const NetworkOptions& options, const ResNetPlan& plan) {
  const Stem stem = options.stem == Stem::standard ? plan.stem : options.stem;
  const Shortcut shortcut = options.shortcut == Shortcut::standard ? plan.shortcut : options.shortcut;
  Builder b{options, plan.bottleneck, shortcut, Network(options.arch, options.input)};
  TensorId x = add_stem(b, stem, plan.width);
  for (size_t stage = 0; stage < plan.blocks.size(); ++stage) {
    for (int i = 0; i < plan.blocks[stage]; ++i) {
      const int stride = stage > 0 && i == 0 ? 2 : 1;
      x = add_block(b, fmt::format("layer{}.{}", stage + 1, i), x, plan.width << stage, stride);
    }
  }
  add_classifier(b.network, options, x);
  return std::move(b.network);
}

}  // namespace mbs
