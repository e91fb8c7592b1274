// Fully connected layer: y[out] = bias[out] + sum over i of x[i] w[i][out], x the whole sample as it lies in
// memory.
#include <algorithm>

#include "engine/check.h"
#include "layers/kernels/conv.h"
#include "layers/registry.h"
#include "layers/shapes.h"

namespace mbs {
namespace {

class Linear final : public Layer {
 public:
  Linear(const Spec& spec, std::span<const Shape> in) : Layer(in) {
    check_input_count(spec, in, 1);
    constexpr int64_t kMaxIn = 1 << 24;
    if (in[0].elems() > kMaxIn)
      fail_usage("layer '{}': an input of {} values is too large; pool before it", spec.text(),
                 in[0].elems());
    in_elems_ = static_cast<int>(in[0].elems());
    out_ = {1, 1, spec.required_int("out")};
    has_bias_ = spec.int_or("bias", 1) != 0;
  }

  /// Variance 1 / (3 in), that of PyTorch's default: logits start near zero and the first loss near
  /// log(classes).
  std::vector<ParamSpec> params() const override {
    std::vector<ParamSpec> specs = {
        {"weight", ParamKind::linear_weight, {in_elems_, out_.c}, Init::he_normal, 6 * int64_t{in_elems_}}};
    if (has_bias_) specs.push_back({"bias", ParamKind::bias, {out_.c}, Init::zero});
    return specs;
  }

  Needs needs(bool wants_dx) const override {
    const ConvShape block = samples_as_pixels(kBlockSamples);
    Needs needs;
    needs.x = true;
    needs.gradient_sweeps = wants_dx ? 2 : 1;
    needs.forward_scratch_elems = kDirectConv.forward.scratch_elems(block);
    needs.backward_scratch_elems = kDirectConv.weight_gradient.scratch_elems(block);
    if (wants_dx)
      needs.backward_scratch_elems =
          std::max(needs.backward_scratch_elems, kDirectConv.data_gradient.scratch_elems(block));
    needs.prepared_elems = kDirectConv.forward.prepared_elems(block);
    if (wants_dx) needs.prepared_elems += kDirectConv.data_gradient.prepared_elems(block);
    return needs;
  }

  void prepare(std::span<const real* const> params, bool wants_dx, real* prepared) const override {
    const ConvShape block = samples_as_pixels(kBlockSamples);
    kDirectConv.forward.prepare(block, params[0], prepared);
    if (wants_dx)
      kDirectConv.data_gradient.prepare(block, params[0],
                                        prepared + kDirectConv.forward.prepared_elems(block));
  }

  std::vector<GemmShape> gemms(Phase phase, int samples, bool wants_dx) const override {
    using Kind = GemmShape::Kind;
    if (phase == Phase::forward) return {{Kind::forward, samples, out_.c, in_elems_}};
    std::vector<GemmShape> gemms;
    if (wants_dx) gemms.push_back({Kind::data_gradient, samples, in_elems_, out_.c});
    gemms.push_back({Kind::weight_gradient, in_elems_, out_.c, samples});
    return gemms;
  }

  void forward(const Forward& f) const override {
    ConvArgs args;
    args.w = f.params[0];
    args.prepared = f.prepared;
    args.bias = has_bias_ ? f.params[1] : nullptr;
    args.scratch = f.scratch;
    for_each_block(f.samples, [&](int64_t first, const ConvShape& block) {
      args.x = f.x[0] + first * in_elems_;
      args.out = f.y + first * out_.c;
      kDirectConv.forward.run(block, args);
    });
  }

  void backward(const Backward& b) const override {
    ConvArgs args;
    args.w = b.params[0];
    args.scratch = b.scratch;
    for_each_block(b.samples, [&](int64_t first, const ConvShape& block) {
      args.x = b.x[0] + first * in_elems_;
      args.dy = b.dy + first * out_.c;
      if (b.dx[0] != nullptr) {
        args.prepared = b.prepared + kDirectConv.forward.prepared_elems(block);
        args.add = b.add_to_dx[0] != 0;
        args.out = b.dx[0] + first * in_elems_;
        kDirectConv.data_gradient.run(block, args);
      }
      if (b.dparams[0] == nullptr) return;
      args.out = b.dparams[0];
      kDirectConv.weight_gradient.run(block, args);
    });
    if (has_bias_ && b.dparams[1] != nullptr) add_rows(b.samples, out_.c, b.dy, b.dparams[1]);
  }

 private:
  static constexpr int kBlockSamples = 64;  // bounds the scratch space

  ConvShape samples_as_pixels(int samples) const {
    return {{1, samples, in_elems_}, {1, samples, out_.c}, {1, 1}, {1, 1}, {0, 0}};
  }

  template <class Body>
  void for_each_block(int samples, Body&& body) const {
    for (int first = 0; first < samples; first += kBlockSamples)
      body(first, samples_as_pixels(std::min(kBlockSamples, samples - first)));
  }

  int in_elems_;
  bool has_bias_;
};

std::unique_ptr<const Layer> make(const Spec& spec, std::span<const Shape> in) {
  return std::make_unique<Linear>(spec, in);
}

}  // namespace

LAYER(linear, make,
      "out=10 | 1x1x64",       // the end of ResNet-20
      "out=7 bias=0 | 3x2x5",  // flattens
      "out=37 | 1x1x33",       // more than two vectors, none of them whole
      "out=16 | 1x1x1");

}  // namespace mbs
