#include "layers/zoo/zoo.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "engine/check.h"
#include "layers/zoo/builders.h"

namespace mbs {
namespace {

struct Entry {
  ArchInfo info;
  std::optional<ResNetPlan> resnet;  // none: `build` makes it
  Network (*build)(const NetworkOptions&) = nullptr;
  bool has_norm = true;
};

Entry cifar(int depth) {
  // Blocks of a stage, two convolutions each; stem and fc make the other two layers.
  const int n = (depth - 2) / 6;
  return {{fmt::format("resnet{}", depth),
           fmt::format("CIFAR residual network of {} layers, 16-32-64 channels", depth),
           {32, 32, 3},
           1},
          ResNetPlan{{n, n, n, 0}, 16, false, Stem::cifar, Shortcut::a}};
}

Entry imagenet(int depth, std::array<int, 4> blocks, bool bottleneck) {
  return {{fmt::format("resnet{}", depth),
           fmt::format("ImageNet residual network of {} layers, {} blocks", depth,
                       bottleneck ? "bottleneck" : "basic"),
           {224, 224, 3},
           1},
          ResNetPlan{blocks, 64, bottleneck, Stem::imagenet, Shortcut::b}};
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> list = {
      {{"small_cnn", "three convolutions with pooling between them: trains in seconds", {32, 32, 3}, 4},
       std::nullopt,
       build_small_cnn},
      cifar(8),
      cifar(20),
      cifar(32),
      cifar(44),
      cifar(56),
      cifar(110),
      imagenet(18, {2, 2, 2, 2}, false),
      imagenet(34, {3, 4, 6, 3}, false),
      imagenet(50, {3, 4, 6, 3}, true),
      imagenet(101, {3, 4, 23, 3}, true),
      imagenet(152, {3, 8, 36, 3}, true),
      {{"alexnet", "AlexNet in one tower, without normalization; 5 convolutions", {227, 227, 3}, 67},
       std::nullopt,
       build_alexnet,
       false},
      {{"inception_v3", "Inception-v3, without auxiliary classifier", {299, 299, 3}, 75},
       std::nullopt,
       build_inception_v3},
      {{"inception_v4", "Inception-v4", {299, 299, 3}, 75}, std::nullopt, build_inception_v4}};
  return list;
}

const Entry& find_entry(std::string_view arch) {
  std::string names;
  for (const Entry& e : entries()) {
    if (e.info.name == arch) return e;
    names += (names.empty() ? "" : ", ") + e.info.name;
  }
  fail_usage("unknown network '{}'; there are {}", arch, names);
}

int largest_divisor(int n, int limit) {
  int divisor = std::min(n, limit);
  while (n % divisor != 0) --divisor;
  return divisor;
}

std::string divisors(int n) {
  std::string text;
  for (int d = 1; d <= n; ++d)
    if (n % d == 0) text += fmt::format("{}{}", text.empty() ? "" : ", ", d);
  return text;
}

void check_options(const NetworkOptions& o) {
  if (o.classes < 2) fail_usage("network '{}': {} classes; there must be at least 2", o.arch, o.classes);
  if (o.input.h < 1 || o.input.w < 1 || o.input.c < 1)
    fail_usage("network '{}': an input of {}x{}x{} is empty", o.arch, o.input.h, o.input.w, o.input.c);
  if (o.gn_groups < 0 || o.gn_channels < 0)
    fail_usage("network '{}': --gn-groups {} and --gn-channels {} must not be negative", o.arch, o.gn_groups,
               o.gn_channels);
  if (o.gn_groups > 0 && o.gn_channels > 0)
    fail_usage("network '{}': give --gn-groups or --gn-channels, not both", o.arch);
  if (o.norm == Norm::batch && (o.gn_groups > 0 || o.gn_channels > 0))
    fail_usage(
        "network '{}': --gn-groups and --gn-channels belong to group norm; leave them out with --norm bn",
        o.arch);
  if (!(o.label_smoothing >= 0 && o.label_smoothing < 1))
    fail_usage("network '{}': a label smoothing of {} must be in [0, 1)", o.arch, o.label_smoothing);
}

// Options that do not fit this network.
void check_entry(const Entry& entry, const NetworkOptions& o) {
  if (!entry.resnet && (o.stem != Stem::standard || o.shortcut != Shortcut::standard))
    fail_usage("network '{}' has no stem or shortcut to choose; leave out --stem and --shortcut", o.arch);
  const int smallest = entry.info.smallest_size;
  if (o.input.h < smallest || o.input.w < smallest)
    fail_usage("network '{}': images of {}x{} are too small; it needs {}x{} or more (--image-size {})",
               o.arch, o.input.h, o.input.w, smallest, smallest, smallest);
  const bool grouped = o.gn_channels > 0 || (o.gn_groups > 0 && o.gn_groups != kDefaultGnGroups);
  if (!entry.has_norm && (o.norm == Norm::batch || grouped || o.weight_standardization))
    fail_usage(
        "network '{}' has no norm to choose; leave out --norm, --gn-groups, --gn-channels and "
        "--weight-standardization",
        o.arch);
}

TensorId add_norm(Network& network, const NetworkOptions& o, const std::string& name, TensorId x,
                  double batch_eps) {
  if (o.norm == Norm::batch)
    return network.add(
        name, batch_eps == kBatchEps ? "batch_norm" : fmt::format("batch_norm eps={}", batch_eps), {x});
  const int channels = network.tensor(x).shape.c;
  if (o.gn_channels == 0 && (o.gn_groups == 0 || o.gn_groups == kDefaultGnGroups))
    return network.add(name, fmt::format("group_norm groups={}", largest_divisor(channels, kDefaultGnGroups)),
                       {x});
  const int parts = o.gn_channels > 0 ? o.gn_channels : std::min(o.gn_groups, channels);
  if (channels % parts != 0)
    fail_usage("network '{}', layer '{}': {} {} not divide its {} channels; what divides: {}", o.arch, name,
               parts, o.gn_channels > 0 ? "channels per group (--gn-channels) do" : "groups (--gn-groups) do",
               channels, divisors(channels));
  return network.add(name, fmt::format("group_norm {}={}", o.gn_channels > 0 ? "channels" : "groups", parts),
                     {x});
}

}  // namespace

std::vector<ArchInfo> architectures() {
  std::vector<ArchInfo> list;
  for (const Entry& e : entries()) list.push_back(e.info);
  return list;
}

TensorId add_conv_norm(Network& network, const NetworkOptions& o, const std::string& conv,
                       const std::string& norm, const std::string& spec, TensorId x, double batch_eps) {
  return add_norm(network, o, norm,
                  network.add(conv, spec + (o.weight_standardization ? " standardized=1" : ""), {x}),
                  batch_eps);
}

void add_classifier(Network& network, const NetworkOptions& o, TensorId x, const Head& head) {
  x = network.add("avgpool", "global_avg_pool", {x});
  if (head.dropout > 0) x = network.add("dropout", fmt::format("dropout rate={}", head.dropout), {x});
  add_loss(network, o, network.add(head.linear, fmt::format("linear out={}", o.classes), {x}));
}

void add_loss(Network& network, const NetworkOptions& o, TensorId logits) {
  if (!o.loss) return;
  network.add(
      "loss",
      o.label_smoothing > 0 ? fmt::format("softmax_loss smoothing={}", o.label_smoothing) : "softmax_loss",
      {logits});
}

Network make_network(const NetworkOptions& options) {
  check_options(options);
  const Entry& entry = find_entry(options.arch);
  check_entry(entry, options);
  return entry.resnet ? build_resnet(options, *entry.resnet) : entry.build(options);
}

}  // namespace mbs
