// How large the ImageNet networks are: counted from the Network and by plain arithmetic over the published
// architecture (Tally), and compared with a table that was worked out apart from both.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/spec.h"
#include "layers/zoo/zoo.h"
#include "tests/doctest.h"

namespace mbs {
namespace {

/// Counts for one sample; `_bytes` with 16-bit words.
struct Inventory {
  int64_t convolutions = 0;
  int64_t parameters = 0;    ///< weights, and two values per channel of a norm; no bias
  int64_t weights = 0;       ///< of convolutions and fully connected layers
  int64_t macs = 0;          ///< multiply-adds of their forward passes
  int64_t conv_outputs = 0;  ///< elements
  int64_t conv_inputs = 0;   ///< elements, a tensor as often as a convolution reads it
  int64_t stored_bytes = 0;  ///< every input of a convolution, fully connected layer or norm, once
  int64_t tensor_bytes = 0;  ///< the image and every output, of norm, ReLU, pool and add too
  int64_t relu_mask_bits = 0;

  bool operator==(const Inventory&) const = default;
};

/// Convolutions, parameters M, weights M, GMAC, conv outputs M, conv outputs MB, conv inputs M, stored MB,
/// all tensors MB, ReLU masks MB; M = 1e6, MB = 1e6 bytes.
std::string table_row(const Inventory& i) {
  const auto mega = [](int64_t n) { return static_cast<double>(n) * 1e-6; };
  return fmt::format("{} {:.3f} {:.3f} {:.3f} {:.3f} {:.1f} {:.3f} {:.1f} {:.1f} {:.2f}", i.convolutions,
                     mega(i.parameters), mega(i.weights), mega(i.macs) * 1e-3, mega(i.conv_outputs),
                     mega(2 * i.conv_outputs), mega(i.conv_inputs), mega(i.stored_bytes),
                     mega(i.tensor_bytes), mega(i.relu_mask_bits) / 8);
}

bool is(const Node& node, const char* layer) { return node.spec.starts_with(layer); }

Inventory inventory_of(const Network& network) {
  Inventory i;
  std::set<TensorId> stored;
  i.tensor_bytes = 2 * network.tensor(network.input()).shape.elems();
  for (const Node& node : network.nodes()) {
    const int64_t out = node.layer->out_shape().elems();
    if (is(node, "conv2d")) {
      i.convolutions += 1;
      i.conv_inputs += node.layer->in_shape().elems();
      i.conv_outputs += out;
    }
    if (is(node, "relu")) i.relu_mask_bits += out;
    if (node.layer->needs(node.wants_dx).x) stored.insert(node.in[0]);
    // A concatenation is its inputs, and dropout can work in place.
    if (!is(node, "concat") && !is(node, "dropout") && !node.layer->is_loss()) i.tensor_bytes += 2 * out;
    for (const GemmShape& g : node.layer->gemms(Phase::forward, 1, false)) i.macs += g.macs();
  }
  for (TensorId t : stored) i.stored_bytes += 2 * network.tensor(t).shape.elems();
  for (const ParamInfo& p : network.params()) {
    const ParamKind kind = p.spec.kind;
    if (kind != ParamKind::bias) i.parameters += p.elems;
    if (kind == ParamKind::conv_weight || kind == ParamKind::linear_weight) i.weights += p.elems;
  }
  return i;
}

/// A square tensor of the published architecture. `id`: which one, so that nothing is stored twice.
struct Image {
  int64_t size, channels;
  int id = 0;
  int64_t elems() const { return size * size * channels; }
};

enum class Pad { same, valid };

/// Adds up what layers cost by the formulas alone.
class Tally {
 public:
  explicit Tally(int64_t size) : input{size, 3} { total.tensor_bytes = 2 * input.elems(); }

  const Image input;
  Inventory total;

  Image made(Image y) {
    total.tensor_bytes += 2 * y.elems();
    y.id = ++last_id_;
    return y;
  }
  void stored(const Image& x) {
    if (stored_.insert(x.id).second) total.stored_bytes += 2 * x.elems();
  }
  Image relu(Image x) {
    total.relu_mask_bits += x.elems();
    return made(x);
  }
  /// Same padding keeps the size, or halves it rounded up.
  static int64_t out_size(int64_t size, int64_t kernel, int64_t stride, Pad pad) {
    return pad == Pad::same ? (size + stride - 1) / stride : (size - kernel) / stride + 1;
  }
  Image bare_conv(Image x, int64_t out, int64_t kh, int64_t kw, int64_t stride, Pad pad) {
    const Image y = made({out_size(x.size, std::max(kh, kw), stride, pad), out});
    const int64_t weights = x.channels * out * kh * kw;
    total.convolutions += 1;
    total.parameters += weights;
    total.weights += weights;
    total.macs += weights * y.size * y.size;
    total.conv_inputs += x.elems();
    total.conv_outputs += y.elems();
    stored(x);
    return y;
  }
  /// Convolution and norm.
  Image conv_norm(Image x, int64_t out, int64_t kh, int64_t kw, int64_t stride = 1, Pad pad = Pad::same) {
    const Image y = bare_conv(x, out, kh, kw, stride, pad);
    stored(y);
    total.parameters += 2 * out;
    return made(y);
  }
  /// Convolution, norm and ReLU.
  Image conv(Image x, int64_t out, int64_t kh, int64_t kw, int64_t stride = 1, Pad pad = Pad::same) {
    return relu(conv_norm(x, out, kh, kw, stride, pad));
  }
  Image conv(Image x, int64_t out, int64_t kernel) { return conv(x, out, kernel, kernel); }
  Image halving_conv(Image x, int64_t out) { return conv(x, out, 3, 3, 2, Pad::valid); }
  Image halving_pool(Image x) { return made({out_size(x.size, 3, 2, Pad::valid), x.channels}); }
  Image smoothing_pool(Image x) { return made(x); }
  /// The parts lie side by side already.
  Image concat(const std::vector<Image>& parts) {
    Image y{parts[0].size, 0, ++last_id_};
    for (const Image& part : parts) y.channels += part.channels;
    return y;
  }
  Image linear(Image x, int64_t out) {
    const int64_t weights = x.elems() * out;
    total.parameters += weights;
    total.weights += weights;
    total.macs += weights;
    stored(x);
    return made({1, out});
  }
  void head(Image x) { linear(made({1, x.channels}), 1000); }

 private:
  std::set<int> stored_;
  int last_id_ = 0;
};

Inventory resnet(const std::vector<int>& blocks) {
  Tally t(224);
  Image x = t.conv(t.input, 64, 7, 7, 2);
  x = t.made({56, 64});  // max pool 3x3, stride 2, padded
  for (size_t stage = 0; stage < 4; ++stage)
    for (int block = 0; block < blocks[stage]; ++block) {
      const int64_t width = 64 << stage, stride = stage > 0 && block == 0 ? 2 : 1;
      const Image main = t.conv_norm(t.conv(t.conv(x, width, 1), width, 3, 3, stride), 4 * width, 1, 1);
      if (block == 0) t.conv_norm(x, 4 * width, 1, 1, stride);
      x = t.relu(t.made(main));  // of the sum
    }
  t.head(x);
  return t.total;
}

Image v3_module_35(Tally& t, Image x, int pool) {
  return t.concat({t.conv(x, 64, 1), t.conv(t.conv(x, 48, 1), 64, 5),
                   t.conv(t.conv(t.conv(x, 64, 1), 96, 3), 96, 3), t.conv(t.smoothing_pool(x), pool, 1)});
}

Image v3_module_17(Tally& t, Image x, int w) {
  const Image single = t.conv(t.conv(t.conv(x, w, 1), w, 1, 7), 192, 7, 1);
  Image twice = t.conv(t.conv(t.conv(x, w, 1), w, 7, 1), w, 1, 7);
  twice = t.conv(t.conv(twice, w, 7, 1), 192, 1, 7);
  return t.concat({t.conv(x, 192, 1), single, twice, t.conv(t.smoothing_pool(x), 192, 1)});
}

Image v3_module_8(Tally& t, Image x) {
  const Image single = t.conv(x, 384, 1), twice = t.conv(t.conv(x, 448, 1), 384, 3);
  return t.concat({t.conv(x, 320, 1), t.conv(single, 384, 1, 3), t.conv(single, 384, 3, 1),
                   t.conv(twice, 384, 1, 3), t.conv(twice, 384, 3, 1), t.conv(t.smoothing_pool(x), 192, 1)});
}

Inventory inception_v3() {
  Tally t(299);
  Image x = t.conv(t.conv(t.halving_conv(t.input, 32), 32, 3, 3, 1, Pad::valid), 64, 3);
  x = t.conv(t.conv(t.halving_pool(x), 80, 1), 192, 3, 3, 1, Pad::valid);
  x = t.halving_pool(x);
  for (int pool : {32, 64, 64}) x = v3_module_35(t, x, pool);
  x = t.concat(
      {t.halving_conv(x, 384), t.halving_conv(t.conv(t.conv(x, 64, 1), 96, 3), 96), t.halving_pool(x)});
  for (int width : {128, 160, 160, 192}) x = v3_module_17(t, x, width);
  const Image separable = t.conv(t.conv(t.conv(x, 192, 1), 192, 1, 7), 192, 7, 1);
  x = t.concat({t.halving_conv(t.conv(x, 192, 1), 320), t.halving_conv(separable, 192), t.halving_pool(x)});
  t.head(v3_module_8(t, v3_module_8(t, x)));
  return t.total;
}

Image v4_stem(Tally& t) {
  Image x = t.conv(t.conv(t.halving_conv(t.input, 32), 32, 3, 3, 1, Pad::valid), 64, 3);
  x = t.concat({t.halving_pool(x), t.halving_conv(x, 96)});
  const Image separable = t.conv(t.conv(t.conv(x, 64, 1), 64, 1, 7), 64, 7, 1);
  x = t.concat(
      {t.conv(t.conv(x, 64, 1), 96, 3, 3, 1, Pad::valid), t.conv(separable, 96, 3, 3, 1, Pad::valid)});
  return t.concat({t.halving_conv(x, 192), t.halving_pool(x)});
}

Image v4_module_17(Tally& t, Image x) {
  const Image single = t.conv(t.conv(t.conv(x, 192, 1), 224, 1, 7), 256, 7, 1);
  Image twice = t.conv(t.conv(t.conv(x, 192, 1), 192, 7, 1), 224, 1, 7);
  twice = t.conv(t.conv(twice, 224, 7, 1), 256, 1, 7);
  return t.concat({t.conv(x, 384, 1), single, twice, t.conv(t.smoothing_pool(x), 128, 1)});
}

Image v4_module_8(Tally& t, Image x) {
  const Image single = t.conv(x, 384, 1), twice = t.conv(t.conv(t.conv(x, 384, 1), 448, 3, 1), 512, 1, 3);
  return t.concat({t.conv(x, 256, 1), t.conv(single, 256, 1, 3), t.conv(single, 256, 3, 1),
                   t.conv(twice, 256, 1, 3), t.conv(twice, 256, 3, 1), t.conv(t.smoothing_pool(x), 256, 1)});
}

Inventory inception_v4() {
  Tally t(299);
  Image x = v4_stem(t);
  for (int i = 0; i < 4; ++i)
    x = t.concat({t.conv(x, 96, 1), t.conv(t.conv(x, 64, 1), 96, 3),
                  t.conv(t.conv(t.conv(x, 64, 1), 96, 3), 96, 3), t.conv(t.smoothing_pool(x), 96, 1)});
  x = t.concat(
      {t.halving_conv(x, 384), t.halving_conv(t.conv(t.conv(x, 192, 1), 224, 3), 256), t.halving_pool(x)});
  for (int i = 0; i < 7; ++i) x = v4_module_17(t, x);
  const Image separable = t.conv(t.conv(t.conv(x, 256, 1), 256, 1, 7), 320, 7, 1);
  x = t.concat({t.halving_conv(t.conv(x, 192, 1), 192), t.halving_conv(separable, 320), t.halving_pool(x)});
  for (int i = 0; i < 3; ++i) x = v4_module_8(t, x);
  t.head(x);
  return t.total;
}

Inventory alexnet() {
  Tally t(227);
  Image x = t.halving_pool(t.relu(t.bare_conv(t.input, 96, 11, 11, 4, Pad::valid)));
  x = t.halving_pool(t.relu(t.bare_conv(x, 256, 5, 5, 1, Pad::same)));
  for (int out : {384, 384, 256}) x = t.relu(t.bare_conv(x, out, 3, 3, 1, Pad::same));
  x = t.relu(t.linear(t.halving_pool(x), 4096));
  t.linear(t.relu(t.linear(x, 4096)), 1000);
  return t.total;
}

Network network_of(const std::string& arch, Shortcut shortcut = Shortcut::standard) {
  NetworkOptions options;
  options.arch = arch;
  options.classes = 1000;
  options.shortcut = shortcut;
  for (const ArchInfo& info : architectures())
    if (info.name == arch) options.input = info.input;
  return make_network(options);
}

TEST_CASE("inventory: networks are as large as their publications say, counted twice") {
  struct Row {
    std::string arch;
    Inventory formulas, exact;
    std::string table;
  };
  const std::vector<Row> rows = {
      {"resnet50",
       resnet({3, 4, 6, 3}),
       {53, 25'556'032, 25'502'912, 4'089'184'256, 11'113'984, 10'662'400, 40'345'600, 75'420'624, 9'608'704},
       "53 25.556 25.503 4.089 11.114 22.2 10.662 40.3 75.4 1.20"},
      {"resnet101",
       resnet({3, 4, 23, 3}),
       {104, 44'548'160, 44'442'816, 7'801'405'440, 16'231'936, 15'780'352, 60'817'408, 112'952'272,
        14'726'656},
       "104 44.548 44.443 7.801 16.232 32.5 15.780 60.8 113.0 1.84"},
      {"resnet152",
       resnet({3, 8, 36, 3}),
       {155, 60'191'808, 60'040'384, 11'513'626'624, 22'554'112, 22'102'528, 86'106'112, 159'314'896,
        21'048'832},
       "155 60.192 60.040 11.514 22.554 45.1 22.103 86.1 159.3 2.63"},
      {"inception_v3",
       inception_v3(),
       {94, 23'833'568, 23'799'136, 5'713'216'096, 8'967'488, 14'142'667, 36'868'694, 59'769'510, 8'967'488},
       "94 23.834 23.799 5.713 8.967 17.9 14.143 36.9 59.8 1.12"},
      {"inception_v4",
       inception_v4(),
       {149, 42'678'816, 42'615'648, 12'253'974'624, 15'089'184, 30'547'051, 70'701'270, 101'078'246,
        15'089'184},
       "149 42.679 42.616 12.254 15.089 30.2 30.547 70.7 101.1 1.89"},
      {"alexnet",
       alexnet(),
       {5, 62'367'776, 62'367'776, 1'135'256'096, 650'080, 397'627, 830'070, 3'189'190, 658'272},
       "5 62.368 62.368 1.135 0.650 1.3 0.398 0.8 3.2 0.08"}};
  for (const Row& row : rows) {
    CAPTURE(row.arch);
    const Inventory counted = inventory_of(network_of(row.arch));
    EXPECT(counted == row.exact);
    EXPECT(row.formulas == row.exact);
    EXPECT(table_row(counted) == row.table);
  }
  // A network that differs is seen to differ.
  EXPECT(!(inventory_of(network_of("resnet50", Shortcut::a)) == rows[0].exact));
}

/// Sums over the convolutions (and the fully connected layer) of a part of ResNet-50.
struct Part {
  int64_t layers = 0, weights = 0, macs = 0, outputs = 0;
};

int64_t weights_of(const Network& network, const Node& node) {
  return network.params()[static_cast<size_t>(node.first_param)].elems;
}

int64_t macs_of(const Node& node) { return node.layer->gemms(Phase::forward, 1, false)[0].macs(); }

TEST_CASE("inventory: ResNet-50 by stage") {
  const Network network = network_of("resnet50");
  std::map<std::string, Part> parts;
  for (const Node& node : network.nodes()) {
    if (!is(node, "conv2d") && !is(node, "linear")) continue;
    Part& part = parts[node.name.substr(0, node.name.find('.'))];
    part.layers += 1;
    part.weights += weights_of(network, node);
    part.macs += macs_of(node);
    part.outputs += node.layer->out_shape().elems();
  }
  std::string text;
  for (const auto& [name, part] : parts)
    text +=
        fmt::format("{}: {} {:.3f} {:.3f} {:.3f} {:.2f}\n", name, part.layers,
                    static_cast<double>(part.weights) * 1e-6, static_cast<double>(part.macs) * 1e-9,
                    static_cast<double>(part.outputs) * 1e-6, static_cast<double>(2 * part.outputs) * 1e-6);
  // Layers, weights M, GMAC, outputs M, outputs MB.
  EXPECT(text ==
         "conv1: 1 0.009 0.118 0.803 1.61\n"
         "fc: 1 2.048 0.002 0.001 0.00\n"
         "layer1: 10 0.213 0.668 4.415 8.83\n"
         "layer2: 13 1.212 1.028 3.111 6.22\n"
         "layer3: 19 7.078 1.464 2.158 4.32\n"
         "layer4: 10 14.942 0.809 0.627 1.25\n");
}

/// "64@56 -> 256@56 k1/1   392 -> 1568  W 32.0   51.4": channels and size, kernel and stride, KiB of features
/// in and out for one sample, KiB of weights, millions of multiply-adds.
std::string layer_text(const Network& network, const Node& node) {
  const Shape in = node.layer->in_shape(), out = node.layer->out_shape();
  const auto kib = [](int64_t elems) { return static_cast<double>(2 * elems) / 1024; };
  std::string kind = "FC";
  if (is(node, "conv2d")) {
    const Spec spec = Spec::parse(node.spec);
    kind = fmt::format("k{}/{}", spec.required_extent("kernel").h, spec.extent_or("stride", {1, 1}).h);
  }
  return fmt::format("{}@{} -> {}@{} {}   {:.0f} -> {:.0f}  W {:.1f}   {:.1f}", in.c, in.h, out.c, out.h,
                     kind, kib(in.elems()), kib(out.elems()), kib(weights_of(network, node)),
                     static_cast<double>(macs_of(node)) * 1e-6);
}

TEST_CASE("inventory: the distinct layers of ResNet-50") {
  const Network network = network_of("resnet50");
  std::map<std::string, int> counted;
  for (const Node& node : network.nodes())
    if (is(node, "conv2d") || is(node, "linear")) counted[layer_text(network, node)] += 1;
  const std::map<std::string, int> expected = {{"3@224 -> 64@112 k7/2   294 -> 1568  W 18.4   118.0", 1},
                                               {"64@56 -> 64@56 k1/1   392 -> 392  W 8.0   12.8", 1},
                                               {"64@56 -> 64@56 k3/1   392 -> 392  W 72.0   115.6", 3},
                                               {"64@56 -> 256@56 k1/1   392 -> 1568  W 32.0   51.4", 4},
                                               {"256@56 -> 64@56 k1/1   1568 -> 392  W 32.0   51.4", 2},
                                               {"256@56 -> 128@56 k1/1   1568 -> 784  W 64.0   102.8", 1},
                                               {"128@56 -> 128@28 k3/2   784 -> 196  W 288.0   115.6", 1},
                                               {"128@28 -> 512@28 k1/1   196 -> 784  W 128.0   51.4", 4},
                                               {"256@56 -> 512@28 k1/2   1568 -> 784  W 256.0   102.8", 1},
                                               {"512@28 -> 128@28 k1/1   784 -> 196  W 128.0   51.4", 3},
                                               {"128@28 -> 128@28 k3/1   196 -> 196  W 288.0   115.6", 3},
                                               {"512@28 -> 256@28 k1/1   784 -> 392  W 256.0   102.8", 1},
                                               {"256@28 -> 256@14 k3/2   392 -> 98  W 1152.0   115.6", 1},
                                               {"256@14 -> 1024@14 k1/1   98 -> 392  W 512.0   51.4", 6},
                                               {"512@28 -> 1024@14 k1/2   784 -> 392  W 1024.0   102.8", 1},
                                               {"1024@14 -> 256@14 k1/1   392 -> 98  W 512.0   51.4", 5},
                                               {"256@14 -> 256@14 k3/1   98 -> 98  W 1152.0   115.6", 5},
                                               {"1024@14 -> 512@14 k1/1   392 -> 196  W 1024.0   102.8", 1},
                                               {"512@14 -> 512@7 k3/2   196 -> 49  W 4608.0   115.6", 1},
                                               {"512@7 -> 2048@7 k1/1   49 -> 196  W 2048.0   51.4", 3},
                                               {"1024@14 -> 2048@7 k1/2   392 -> 196  W 4096.0   102.8", 1},
                                               {"2048@7 -> 512@7 k1/1   196 -> 49  W 2048.0   51.4", 2},
                                               {"512@7 -> 512@7 k3/1   49 -> 49  W 4608.0   115.6", 2},
                                               {"2048@1 -> 1000@1 FC   4 -> 2  W 4000.0   2.0", 1}};
  EXPECT(counted == expected);
}

}  // namespace
}  // namespace mbs
