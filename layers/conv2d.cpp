// Two-dimensional convolution; the formula stands in layers/kernels/conv.h, which does the arithmetic.
#include <algorithm>

#include "layers/kernels/conv.h"
#include "layers/registry.h"
#include "layers/shapes.h"

namespace mbs {
namespace {

class Conv2d final : public Layer {
 public:
  Conv2d(const Spec& spec, std::span<const Shape> in) : Layer(in) {
    check_input_count(spec, in, 1);
    s_.in = in[0];
    s_.kernel = spec.required_extent("kernel");
    s_.stride = spec.extent_or("stride", {1, 1}, 1);
    s_.pad = spec.extent_or("pad", {0, 0});
    has_bias_ = spec.int_or("bias", 0) != 0;
    standardized_ = spec.int_or("standardized", 0) != 0;
    s_.out = window_shape(spec, s_.in, {s_.kernel, s_.stride, s_.pad}, spec.required_int("out"));
    out_ = s_.out;
    kernels_ = choose_conv_kernels(s_);
  }

  /// Fan-out keeps the variance of gradients, and is what ResNets start from (He et al. 2015, section 2.2).
  std::vector<ParamSpec> params() const override {
    std::vector<ParamSpec> specs = {{"weight",
                                     ParamKind::conv_weight,
                                     {s_.kernel.h, s_.kernel.w, s_.in.c, s_.out.c},
                                     Init::he_normal,
                                     s_.taps() * s_.out.c,
                                     standardized_}};
    if (has_bias_) specs.push_back({"bias", ParamKind::bias, {s_.out.c}, Init::zero});
    return specs;
  }

  Needs needs(bool wants_dx) const override {
    Needs needs;
    needs.x = true;
    needs.forward_scratch_elems = kernels_.forward.scratch_elems(s_);
    needs.backward_scratch_elems = kernels_.weight_gradient.scratch_elems(s_);
    if (wants_dx)
      needs.backward_scratch_elems =
          std::max(needs.backward_scratch_elems, kernels_.data_gradient.scratch_elems(s_));
    needs.prepared_elems =
        prepared_elems(kernels_.forward) + (wants_dx ? prepared_elems(kernels_.data_gradient) : 0);
    if (kernels_.weight_gradient.accumulator_elems != nullptr)
      needs.accumulator_elems = kernels_.weight_gradient.accumulator_elems(s_);
    needs.gradient_sweeps = wants_dx ? 2 : 1;
    return needs;
  }

  std::vector<GemmShape> gemms(Phase phase, int samples, bool wants_dx) const override {
    using Kind = GemmShape::Kind;
    const int64_t in_pixels = samples * s_.in.pixels(), out_pixels = samples * s_.out.pixels();
    if (phase == Phase::forward) return {{Kind::forward, out_pixels, s_.out.c, s_.taps() * s_.in.c}};
    std::vector<GemmShape> gemms;
    if (wants_dx) gemms.push_back({Kind::data_gradient, in_pixels, s_.in.c, s_.taps() * s_.out.c});
    gemms.push_back({Kind::weight_gradient, s_.taps() * s_.in.c, s_.out.c, out_pixels});
    return gemms;
  }

  void prepare(std::span<const real* const> params, bool wants_dx, real* prepared) const override {
    const ConvKernel &f = kernels_.forward, &d = kernels_.data_gradient;
    if (f.prepare != nullptr) f.prepare(s_, params[0], prepared);
    if (wants_dx && d.prepare != nullptr) d.prepare(s_, params[0], prepared + prepared_elems(f));
  }

  void finish_gradients(real* accumulator, std::span<real* const> dparams) const override {
    kernels_.weight_gradient.finish(s_, accumulator, dparams[0]);
  }

  void forward(const Forward& f) const override {
    ConvArgs args;
    args.samples = f.samples;
    args.x = f.x[0];
    args.w = f.params[0];
    args.prepared = f.prepared;
    args.bias = has_bias_ ? f.params[1] : nullptr;
    args.out = f.y;
    args.scratch = f.scratch;
    kernels_.forward.run(s_, args);
  }

  void backward(const Backward& b) const override {
    ConvArgs args;
    args.samples = b.samples;
    args.x = b.x[0];
    args.w = b.params[0];
    args.dy = b.dy;
    args.scratch = b.scratch;
    if (b.dx[0] != nullptr) {
      args.prepared = b.prepared + prepared_elems(kernels_.forward);
      args.out = b.dx[0];
      args.add = b.add_to_dx[0] != 0;
      kernels_.data_gradient.run(s_, args);
    }
    if (b.dparams[0] == nullptr) return;
    args.out = kernels_.weight_gradient.finish != nullptr ? b.accumulator : b.dparams[0];
    kernels_.weight_gradient.run(s_, args);
    if (has_bias_) add_rows(b.samples * s_.out.pixels(), s_.out.c, b.dy, b.dparams[1]);
  }

 private:
  int64_t prepared_elems(const ConvKernel& kernel) const {
    return kernel.prepared_elems == nullptr ? 0 : kernel.prepared_elems(s_);
  }

  ConvShape s_;
  bool has_bias_, standardized_;
  ConvKernels kernels_;
};

std::unique_ptr<const Layer> make(const Spec& spec, std::span<const Shape> in) {
  return std::make_unique<Conv2d>(spec, in);
}

}  // namespace

LAYER(conv2d, make,
      "out=4 kernel=3 | 5x7x3",                    // no padding, odd sizes
      "out=16 kernel=3 pad=1 | 9x6x16",            // whole vectors
      "out=32 kernel=3 pad=1 bias=1 | 8x4x16",     // whole tiles of 4x4 outputs too: Winograd
      "out=16 kernel=3 pad=1 | 2x2x16",            // and of 2x2
      "out=7 kernel=3 pad=1 bias=1 | 7x4x5",       // channels that fill no vector
      "out=33 kernel=3 stride=2 pad=1 | 9x10x17",  // more than two vectors, even and odd size with stride 2
      "out=16 kernel=1 | 4x5x3",                   // pointwise
      "out=6 kernel=1 stride=2 bias=1 | 5x6x19",   // pointwise, reads every second pixel
      "out=5 kernel=1x7 pad=0x3 | 3x8x4",          // rectangular, as in Inception
      "out=5 kernel=7x1 pad=3x0 stride=1x2 | 8x3x4",          // rectangular kernel and stride
      "out=3 kernel=2 stride=3 pad=1 | 8x9x2",                // stride > kernel: pixels that nothing reads
      "out=8 kernel=7 stride=2 pad=3 | 13x11x3",              // the stem of ResNets
      "out=3 kernel=3x2 stride=2x1 pad=2x1 bias=1 | 4x3x2");  // padding beyond half the kernel

}  // namespace mbs
