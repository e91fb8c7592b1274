// The space equations against the table of ResNet-50 and against a walk that keeps a set of live tensors.
#include <algorithm>
#include <map>
#include <set>

#include "mbs/footprint.h"
#include "tests/doctest.h"
#include "tests/mbs_networks.h"

using namespace mbs;
using namespace mbs::tests;

namespace {

constexpr auto kWithin = Sharing::within_branch;
constexpr auto kAcross = Sharing::across_branches;

const Block& block(const Network& network, const std::string& name) {
  const auto blocks = network.blocks();
  const auto it = std::find_if(blocks.begin(), blocks.end(), [&](const Block& b) { return b.name == name; });
  REQUIRE(it != blocks.end());
  return *it;
}

// The largest sum of live tensors while the block runs over one sample: a tensor lives from the step that
// makes it to the last step of the block that reads it. An output takes the place of an input that dies, if
// the layer can.
int64_t peak_of_walk(const Network& network, const Block& b, Space space) {
  std::set<TensorId> live = {network.node(b.first).in[0]};
  const auto sum = [&] {
    int64_t elems = 0;
    for (TensorId t : live) elems += network.tensor(t).shape.elems();
    return elems;
  };
  const auto dies = [&](TensorId t, NodeId now) { return network.tensor(t).uses.back().node == now; };
  int64_t peak = 0;
  for (NodeId n = b.first; n <= b.last; ++n) {
    const Node& node = network.node(n);
    const int64_t out = network.tensor(node.out).shape.elems();
    const bool in_place = node.layer->concatenates() ||
                          (space == Space::in_place && node.layer->in_place() && dies(node.in[0], n));
    peak = std::max(peak, sum() + (in_place ? 0 : out));
    for (TensorId t : node.in)
      if (dies(t, n)) live.erase(t);
    live.insert(node.out);
  }
  return peak;
}

}  // namespace

TEST_CASE("footprint of a plain block is its input and output") {
  Network n("plain", {7, 5, 3});
  const TensorId c = n.add("conv", "conv2d out=4 kernel=3 stride=2 pad=1", {n.input()});
  n.add("relu", "relu", {c});
  const int64_t in = 7 * 5 * 3, out = 4 * 3 * 4;  // ceil(7 / 2) x ceil(5 / 2) x 4
  for (Sharing sharing : {kWithin, kAcross}) {
    EXPECT(footprint_elems(n, n.blocks()[0], Space::in_place, sharing) == in + out);
    EXPECT(footprint_elems(n, n.blocks()[1], Space::out_of_place, sharing) == 2 * out);
    EXPECT(footprint_elems(n, n.blocks()[1], Space::in_place, sharing) == out);
  }
  EXPECT(footprint_bytes(n, n.blocks()[1], Space::in_place, kWithin, 16) == 2 * out);
  EXPECT(footprint_bytes(n, n.blocks()[1], Space::in_place, kWithin, 5) == 30);  // 48 x 5 bits
  EXPECT(footprint_bytes(n, n.blocks()[1], Space::in_place, kWithin, 1) == 6);
}

TEST_CASE("footprints of ResNet-50 are those of the published shapes") {
  const Network net = zoo_network("resnet50");
  // 16-bit bytes of the feature maps: channels x pixels x 2.
  const int64_t c3s224 = 3 * 224 * 224 * 2, c64s112 = 64 * 112 * 112 * 2, c64s56 = 64 * 56 * 56 * 2;
  const int64_t c256s56 = 256 * 56 * 56 * 2, c128s56 = 128 * 56 * 56 * 2, c128s28 = 128 * 28 * 28 * 2;
  const int64_t c512s28 = 512 * 28 * 28 * 2, c256s28 = 256 * 28 * 28 * 2, c256s14 = 256 * 14 * 14 * 2;
  const int64_t c1024s14 = 1024 * 14 * 14 * 2, c512s7 = 512 * 7 * 7 * 2, c2048s7 = 2048 * 7 * 7 * 2;
  struct Row {
    std::string block;
    Space space;
    int64_t within, across;
  };
  constexpr auto kOut = Space::out_of_place;
  constexpr auto kIn = Space::in_place;
  const Row rows[] = {
      {"conv1", kOut, c3s224 + c64s112, c3s224 + c64s112},
      {"bn1", kOut, 2 * c64s112, 2 * c64s112},  // 3.21 MB: 3 samples in 10 MiB
      {"relu", kOut, 2 * c64s112, 2 * c64s112},
      {"maxpool", kOut, c64s112 + c64s56, c64s112 + c64s56},
      {"layer1.0", kOut, 2 * c256s56, 3 * c256s56},  // last norm, beside what the other branch keeps
      {"layer1.2", kOut, 2 * c256s56, 3 * c256s56},
      {"layer2.0", kOut, c256s56 + c128s56, 2 * c128s56 + c256s56},
      {"layer2.1", kOut, 2 * c512s28, 3 * c512s28},
      {"layer3.0", kOut, c512s28 + c256s28, 2 * c256s28 + c512s28},
      {"layer3.1", kOut, 2 * c1024s14, 3 * c1024s14},
      {"layer4.2", kOut, 2 * c2048s7, 3 * c2048s7},
      {"bn1", kIn, c64s112, c64s112},
      {"layer1.1", kIn, c256s56 + c64s56, c64s56 + 2 * c256s56},  // third conv and the block's input
      {"layer2.1", kIn, c512s28 + c128s28, c128s28 + 2 * c512s28},
      {"layer3.1", kIn, c1024s14 + c256s14, c256s14 + 2 * c1024s14},
      {"layer4.1", kIn, c2048s7 + c512s7, c512s7 + 2 * c2048s7},
  };
  for (const Row& row : rows) {
    CAPTURE(row.block);
    EXPECT(footprint_bytes(net, block(net, row.block), row.space, kWithin, 16) == row.within);
    EXPECT(footprint_bytes(net, block(net, row.block), row.space, kAcross, 16) == row.across);
  }
}

TEST_CASE("the residual equation is the peak of live tensors") {
  for (const std::string arch : {"resnet8", "resnet18", "resnet50"}) {
    for (Shortcut shortcut : {Shortcut::a, Shortcut::b}) {
      const Network net = zoo_network(arch, shortcut);
      for (const Block& b : net.blocks()) {
        for (Space space : {Space::out_of_place, Space::in_place}) {
          CAPTURE(arch);
          CAPTURE(b.name);
          EXPECT(footprint_elems(net, b, space, kAcross) == peak_of_walk(net, b, space));
          EXPECT(footprint_elems(net, b, space, kWithin) <= footprint_elems(net, b, space, kAcross));
        }
      }
    }
  }
}

// The equation reserves the block's input and its whole output throughout; the walk lets the input go at its
// last use and lets the output grow. So the walk never needs more.
TEST_CASE("the inception equation covers the peak of live tensors") {
  const Network net = inception_like();
  const Block& mixed = block(net, "mixed");
  const int64_t pixels = 7 * 5;  // 9x7 after a 3x3 convolution
  const int64_t in = 6 * pixels, out = (4 + 5 + 6) * pixels;
  // Out of place: b1 and its ReLU, b1 and b2, and b2 with its norm are private; the last ReLU writes into the
  // output.
  EXPECT(footprint_elems(net, mixed, Space::out_of_place, kAcross) == in + out + (5 + 5) * pixels);
  // In place: b2, its norm and ReLU lie in the output, b1 and its ReLU are one tensor.
  EXPECT(footprint_elems(net, mixed, Space::in_place, kAcross) == in + out + 3 * pixels);
  // One layer at a time: the pool, 6 -> 6 channels.
  EXPECT(footprint_elems(net, mixed, Space::in_place, kWithin) == (6 + 6) * pixels);
  for (Space space : {Space::out_of_place, Space::in_place})
    EXPECT(peak_of_walk(net, mixed, space) <= footprint_elems(net, mixed, space, kAcross));
}
