// Inception-v4: Szegedy, Ioffe, Vanhoucke, Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual
// Connections on Learning", 2016 (arXiv:1602.07261), figures 3 to 9. Names are timm's. Sizes beside the
// modules are for images of 299x299.
#include <fmt/core.h>

#include "layers/zoo/builders.h"

namespace mbs {
namespace {

// The border's windows are averaged over what lies inside the image.
const UnitSpec kAvgPool = {"branch3.0", "avg_pool kernel=3 stride=1 pad=1 count_pad=0"};
const std::string kHalvingPool = "max_pool kernel=3 stride=2";

std::string pointwise(int out) { return fmt::format("out={} kernel=1", out); }
std::string square(int out) { return fmt::format("out={} kernel=3 pad=1", out); }
std::string halving(int out) { return fmt::format("out={} kernel=3 stride=2", out); }
// A long row or column of taps, of 3 or 7.
std::string row(int out, int taps) { return fmt::format("out={} kernel=1x{} pad=0x{}", out, taps, taps / 2); }
std::string column(int out, int taps) {
  return fmt::format("out={} kernel={}x1 pad={}x0", out, taps, taps / 2);
}

// The stem's three modules (figure 3): 147x147 to 73x73, to 71x71, to 35x35.
std::vector<BranchSpec> stem_3a() { return {{{{"maxpool", kHalvingPool}}}, {{{"conv", halving(96)}}}}; }
std::vector<BranchSpec> stem_4a() {
  return {{{{"branch0.0", pointwise(64)}, {"branch0.1", "out=96 kernel=3"}}},
          {{{"branch1.0", pointwise(64)},
            {"branch1.1", row(64, 7)},
            {"branch1.2", column(64, 7)},
            {"branch1.3", "out=96 kernel=3"}}}};
}
std::vector<BranchSpec> stem_5a() { return {{{{"conv", halving(192)}}}, {{{"maxpool", kHalvingPool}}}}; }

// 35x35 (figure 4).
std::vector<BranchSpec> module_a() {
  return {{{{"branch0", pointwise(96)}}},
          {{{"branch1.0", pointwise(64)}, {"branch1.1", square(96)}}},
          {{{"branch2.0", pointwise(64)}, {"branch2.1", square(96)}, {"branch2.2", square(96)}}},
          {{kAvgPool, {"branch3.1", pointwise(96)}}}};
}

// 35x35 to 17x17 (figure 7, with the numbers of table 1).
std::vector<BranchSpec> reduction_a() {
  return {{{{"branch0", halving(384)}}},
          {{{"branch1.0", pointwise(192)}, {"branch1.1", square(224)}, {"branch1.2", halving(256)}}},
          {{{"branch2", kHalvingPool}}}};
}

// 17x17 (figure 5).
std::vector<BranchSpec> module_b() {
  return {{{{"branch0", pointwise(384)}}},
          {{{"branch1.0", pointwise(192)}, {"branch1.1", row(224, 7)}, {"branch1.2", column(256, 7)}}},
          {{{"branch2.0", pointwise(192)},
            {"branch2.1", column(192, 7)},
            {"branch2.2", row(224, 7)},
            {"branch2.3", column(224, 7)},
            {"branch2.4", row(256, 7)}}},
          {{kAvgPool, {"branch3.1", pointwise(128)}}}};
}

// 17x17 to 8x8 (figure 8).
std::vector<BranchSpec> reduction_b() {
  return {{{{"branch0.0", pointwise(192)}, {"branch0.1", halving(192)}}},
          {{{"branch1.0", pointwise(256)},
            {"branch1.1", row(256, 7)},
            {"branch1.2", column(320, 7)},
            {"branch1.3", halving(320)}}},
          {{{"branch2", kHalvingPool}}}};
}

// 8x8 (figure 6): branches that end in a row beside a column.
std::vector<BranchSpec> module_c() {
  return {{{{"branch0", pointwise(256)}}},
          {{{"branch1_0", pointwise(384)}, {"branch1_1a", row(256, 3)}}},
          {{{"branch1_1b", column(256, 3)}}, "branch1_0"},
          {{{"branch2_0", pointwise(384)},
            {"branch2_1", column(448, 3)},
            {"branch2_2", row(512, 3)},
            {"branch2_3a", row(256, 3)}}},
          {{{"branch2_3b", column(256, 3)}}, "branch2_2"},
          {{kAvgPool, {"branch3.1", pointwise(256)}}}};
}

}  // namespace

Network build_inception_v4(const NetworkOptions& options) {
  Network network(options.arch, options.input);
  TensorId x = network.input();
  int feature = 0;
  const auto next_name = [&] { return fmt::format("features.{}", feature++); };
  for (const std::string& spec : {halving(32), std::string("out=32 kernel=3"), square(64)})
    x = add_unit(network, options, {next_name(), spec}, x);

  const auto modules = [&](int count, const std::vector<BranchSpec>& branches) {
    for (int i = 0; i < count; ++i) x = add_module(network, options, next_name(), x, branches);
  };
  modules(1, stem_3a());
  modules(1, stem_4a());
  modules(1, stem_5a());
  modules(4, module_a());
  modules(1, reduction_a());
  modules(7, module_b());
  modules(1, reduction_b());
  modules(3, module_c());
  add_classifier(network, options, x, {.dropout = 0.2, .linear = "last_linear"});
  return network;
}

}  // namespace mbs
