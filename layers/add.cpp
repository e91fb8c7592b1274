// add: the sum of two or more tensors of one shape, as at the end of a residual block. relu=1: max(sum, 0),
// as a relu layer behind it, in the same sweep.

#include "engine/check.h"
#include "layers/kernels/elementwise.h"
#include "layers/registry.h"
#include "layers/shapes.h"

namespace mbs {
namespace {

class Add final : public Layer {
 public:
  Add(const Spec& spec, std::span<const Shape> in) : Layer(in) {
    if (in.size() < 2) fail_usage("layer '{}': takes two or more inputs, not {}", spec.text(), in.size());
    for (const Shape& shape : in)
      if (shape != in[0])
        fail_usage("layer '{}': its inputs have different shapes: {}", spec.text(), to_text(in));
    out_ = in[0];
    relu_ = spec.int_or("relu", 0) != 0;
  }

  Needs needs(bool) const override {
    if (!relu_) return {};
    return {.aux_role = Role::relu_mask, .aux_bytes_per_sample = mask_bytes(out_.elems())};
  }
  bool passes_gradient() const override { return !relu_; }
  bool in_place() const override { return true; }

  // Samples are gone over one by one, since the mask of each starts at a byte of its own.
  void forward(const Forward& f) const override {
    const int64_t n = out_.elems();
    for (int s = 0; s < f.samples; ++s) {
      real* y = f.y + s * n;
      const real* sum = f.x[0] + s * n;  // of all inputs but the last one
      for (size_t i = 1; i + 1 < f.x.size(); ++i, sum = y) add_arrays(sum, f.x[i] + s * n, y, n);
      const real* last = f.x.back() + s * n;
      if (relu_)
        add_relu_forward(sum, last, y, sample_mask(f.aux, n, s), n);
      else
        add_arrays(sum, last, y, n);
    }
  }

  void backward(const Backward& b) const override {
    const int64_t n = out_.elems();
    for (int s = 0; s < b.samples; ++s) {
      for (size_t i = 0; i < b.dx.size(); ++i) {
        if (b.dx[i] == nullptr) continue;
        if (relu_)
          relu_backward(b.dy + s * n, sample_mask(b.aux, n, s), b.dx[i] + s * n, b.add_to_dx[i] != 0, n);
        else
          copy_or_add(b.dy + s * n, b.dx[i] + s * n, b.add_to_dx[i] != 0, n);
      }
    }
  }

 private:
  bool relu_;
};

std::unique_ptr<const Layer> make_add(const Spec& spec, std::span<const Shape> in) {
  return std::make_unique<Add>(spec, in);
}

}  // namespace

LAYER(add, make_add, "| 4x6x16 4x6x16", "| 3x5x7 3x5x7", "| 1x1x1 1x1x1 1x1x1", "| 2x3x5 2x3x5 2x3x5 2x3x5",
      "relu=1 | 4x6x16 4x6x16", "relu=1 | 3x5x7 3x5x7", "relu=1 | 2x3x5 2x3x5 2x3x5 2x3x5")

}  // namespace mbs
