// The convolution as a layer: what it declares, refuses, and which kernels it takes.
#include <string>
#include <vector>

#include "engine/check.h"
#include "layers/kernels/conv_winograd.h"
#include "layers/kernels/kernel_set.h"
#include "tests/conv_cases.h"
#include "tests/reference/naive_conv.h"

namespace mbs {

TEST_CASE("conv2d declares the multiply-accumulates of the definition") {
  for (const ConvCase& c : conv_cases()) {
    CAPTURE(c.text);
    const ConvShape& s = c.shape;
    if (s.in.elems() > 10000) continue;
    const int samples = 3;
    const ConvInputs in = make_inputs(c, samples);
    const std::vector<GemmShape> forward = c.layer->gemms(Phase::forward, samples, true);
    const std::vector<GemmShape> backward = c.layer->gemms(Phase::backward, samples, true);
    REQUIRE(forward.size() == 1);
    REQUIRE(backward.size() == 2);
    EXPECT(forward[0].macs() == reference::conv_forward(s, samples, in.x.data(), in.w.data(), nullptr).macs);
    EXPECT(backward[0].macs() == reference::conv_data_gradient(s, samples, in.dy.data(), in.w.data()).macs);
    EXPECT(backward[1].macs() == reference::conv_weight_gradient(s, samples, in.x.data(), in.dy.data()).macs);
    EXPECT(c.layer->gemms(Phase::backward, samples, false) == std::vector<GemmShape>{backward[1]});
  }
}

TEST_CASE("conv2d: output sizes, parameters and needs") {
  const ConvCase stem = make_case("conv2d out=64 kernel=7 stride=2 pad=3", {224, 224, 3});
  EXPECT(stem.layer->out_shape() == Shape{112, 112, 64});  // (224 + 2 * 3 - 7) / 2 + 1, rounded down
  REQUIRE(stem.layer->params().size() == 1);
  EXPECT(stem.layer->params()[0].dims == std::vector<int>{7, 7, 3, 64});
  EXPECT(stem.layer->params()[0].fan == 7 * 7 * 64);
  EXPECT(stem.layer->needs(false).gradient_sweeps == 1);
  EXPECT(stem.layer->needs(true).gradient_sweeps == 2);  // the data gradient and the weight gradient read dy
  EXPECT(stem.layer->needs(true).x);
  EXPECT(make_case("conv2d out=3 kernel=1 bias=1", {2, 2, 5}).layer->params()[1].dims == std::vector<int>{3});
}

TEST_CASE("conv2d refuses what cannot be") {
  const auto message = [](const std::string& spec, std::vector<Shape> in) -> std::string {
    try {
      make_layer(spec, in);
    } catch (const Error& error) {
      EXPECT(error.kind() == ErrorKind::usage);
      return error.what();
    }
    return "";
  };
  EXPECT(message("conv2d out=3 kernel=5", {{4, 9, 2}}).find("conv2d out=3 kernel=5") != std::string::npos);
  EXPECT(message("conv2d kernel=3", {{4, 9, 2}}).find("out") != std::string::npos);
  EXPECT(message("conv2d out=3 kernel=3 stride=0", {{4, 9, 2}}).find("stride") != std::string::npos);
  EXPECT(message("conv2d out=3 kernel=3 dilation=2", {{4, 9, 2}}).find("dilation") != std::string::npos);
  EXPECT(!message("conv2d out=3 kernel=1", {{4, 9, 2}, {4, 9, 2}}).empty());
}

TEST_CASE("the kernel set is a setting of the process") {
  EXPECT(kernel_set() == KernelSet::automatic);
  const ConvShape shape = make_case("conv2d out=5 kernel=3", {6, 7, 9}).shape;
  set_kernel_set(KernelSet::gemm);
  EXPECT((choose_conv_kernels(shape).forward.run == kGemmConv.forward.run));
  const ConvShape fitting = make_case("conv2d out=16 kernel=3 pad=1", {6, 7, 16}).shape;
  set_kernel_set(KernelSet::direct);
  EXPECT((choose_conv_kernels(shape).forward.run == kDirectConv.forward.run));
  EXPECT((choose_conv_kernels(fitting).forward.run == kDirectConv.forward.run));
  set_kernel_set(KernelSet::winograd);
  EXPECT((choose_conv_kernels(shape).forward.run == kDirectConv.forward.run));
  EXPECT((choose_conv_kernels(fitting).forward.run == kWinogradConv4.forward.run));
  set_kernel_set(KernelSet::automatic);
  EXPECT((choose_conv_kernels(fitting).forward.run == kDirectConv.forward.run));  // 6x7 of 8x8 pixels
  const ConvShape whole = make_case("conv2d out=16 kernel=3 pad=1", {8, 12, 16}).shape;
  EXPECT((choose_conv_kernels(whole).forward.run == kWinogradConv4.forward.run));
  set_kernel_set(KernelSet::automatic);
  const ConvShape wide = make_case("conv2d out=3 kernel=1", {2, 2, 1024}).shape;
  EXPECT((choose_conv_kernels(wide).forward.run == kDirectConv.forward.run));
  EXPECT((choose_conv_kernels(wide).weight_gradient.run == kGemmConv.weight_gradient.run));
}

}  // namespace mbs
