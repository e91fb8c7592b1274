// Inception-v3: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer
// Vision", 2015 (arXiv:1512.00567), in the form that torchvision trains, without the auxiliary classifier.
// Figures and sizes beside the modules are for images of 299x299.
#include <fmt/core.h>

#include "layers/zoo/builders.h"

namespace mbs {
namespace {

const UnitSpec kAvgPool = {"avgpool", "avg_pool kernel=3 stride=1 pad=1"};
const UnitSpec kHalvingPool = {"maxpool", "max_pool kernel=3 stride=2"};

std::string pointwise(int out) { return fmt::format("out={} kernel=1", out); }

// 35x35 (figure 5): two 3x3 in a row see what a 5x5 sees.
std::vector<BranchSpec> module_35(int pool_channels) {
  return {{{{"branch1x1", pointwise(64)}}},
          {{{"branch5x5_1", pointwise(48)}, {"branch5x5_2", "out=64 kernel=5 pad=2"}}},
          {{{"branch3x3dbl_1", pointwise(64)},
            {"branch3x3dbl_2", "out=96 kernel=3 pad=1"},
            {"branch3x3dbl_3", "out=96 kernel=3 pad=1"}}},
          {{kAvgPool, {"branch_pool", pointwise(pool_channels)}}}};
}

// 35x35 to 17x17 (figure 10).
std::vector<BranchSpec> module_35_to_17() {
  return {{{{"branch3x3", "out=384 kernel=3 stride=2"}}},
          {{{"branch3x3dbl_1", pointwise(64)},
            {"branch3x3dbl_2", "out=96 kernel=3 pad=1"},
            {"branch3x3dbl_3", "out=96 kernel=3 stride=2"}}},
          {{kHalvingPool}}};
}

// 17x17 (figure 6): a 7x7 as a row and a column; `width` channels inside.
std::vector<BranchSpec> module_17(int width) {
  const auto row = [](int out) { return fmt::format("out={} kernel=1x7 pad=0x3", out); };
  const auto column = [](int out) { return fmt::format("out={} kernel=7x1 pad=3x0", out); };
  return {{{{"branch1x1", pointwise(192)}}},
          {{{"branch7x7_1", pointwise(width)}, {"branch7x7_2", row(width)}, {"branch7x7_3", column(192)}}},
          {{{"branch7x7dbl_1", pointwise(width)},
            {"branch7x7dbl_2", column(width)},
            {"branch7x7dbl_3", row(width)},
            {"branch7x7dbl_4", column(width)},
            {"branch7x7dbl_5", row(192)}}},
          {{kAvgPool, {"branch_pool", pointwise(192)}}}};
}

// 17x17 to 8x8.
std::vector<BranchSpec> module_17_to_8() {
  return {{{{"branch3x3_1", pointwise(192)}, {"branch3x3_2", "out=320 kernel=3 stride=2"}}},
          {{{"branch7x7x3_1", pointwise(192)},
            {"branch7x7x3_2", "out=192 kernel=1x7 pad=0x3"},
            {"branch7x7x3_3", "out=192 kernel=7x1 pad=3x0"},
            {"branch7x7x3_4", "out=192 kernel=3 stride=2"}}},
          {{kHalvingPool}}};
}

// 8x8 (figure 7): branches that end in a row beside a column.
std::vector<BranchSpec> module_8() {
  const std::string row = "out=384 kernel=1x3 pad=0x1", column = "out=384 kernel=3x1 pad=1x0";
  return {{{{"branch1x1", pointwise(320)}}},
          {{{"branch3x3_1", pointwise(384)}, {"branch3x3_2a", row}}},
          {{{"branch3x3_2b", column}}, "branch3x3_1"},
          {{{"branch3x3dbl_1", pointwise(448)},
            {"branch3x3dbl_2", "out=384 kernel=3 pad=1"},
            {"branch3x3dbl_3a", row}}},
          {{{"branch3x3dbl_3b", column}}, "branch3x3dbl_2"},
          {{kAvgPool, {"branch_pool", pointwise(192)}}}};
}

}  // namespace

Network build_inception_v3(const NetworkOptions& options) {
  Network network(options.arch, options.input);
  TensorId x = network.input();
  const std::vector<UnitSpec> stem = {
      {"Conv2d_1a_3x3", "out=32 kernel=3 stride=2"}, {"Conv2d_2a_3x3", "out=32 kernel=3"},
      {"Conv2d_2b_3x3", "out=64 kernel=3 pad=1"},    {"maxpool1", "max_pool kernel=3 stride=2"},
      {"Conv2d_3b_1x1", "out=80 kernel=1"},          {"Conv2d_4a_3x3", "out=192 kernel=3"},
      {"maxpool2", "max_pool kernel=3 stride=2"}};
  for (const UnitSpec& unit : stem) x = add_unit(network, options, unit, x);

  const auto module = [&](const std::string& name, const std::vector<BranchSpec>& branches) {
    x = add_module(network, options, name, x, branches);
  };
  module("Mixed_5b", module_35(32));
  module("Mixed_5c", module_35(64));
  module("Mixed_5d", module_35(64));
  module("Mixed_6a", module_35_to_17());
  module("Mixed_6b", module_17(128));
  module("Mixed_6c", module_17(160));
  module("Mixed_6d", module_17(160));
  module("Mixed_6e", module_17(192));
  module("Mixed_7a", module_17_to_8());
  module("Mixed_7b", module_8());
  module("Mixed_7c", module_8());
  add_classifier(network, options, x, {.dropout = 0.5});
  return network;
}

}  // namespace mbs
