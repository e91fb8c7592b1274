// add: the sum of two or more tensors of one shape, as at the end of a residual block.

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
  }

  Needs needs(bool) const override { return {}; }
  bool passes_gradient() const override { return true; }
  bool in_place() const override { return true; }

  void forward(const Forward& f) const override {
    const int64_t n = f.samples * out_.elems();
    add_arrays(f.x[0], f.x[1], f.y, n);
    for (size_t i = 2; i < f.x.size(); ++i) copy_or_add(f.x[i], f.y, true, n);
  }

  void backward(const Backward& b) const override {
    for (size_t i = 0; i < b.dx.size(); ++i)
      if (b.dx[i] != nullptr) copy_or_add(b.dy, b.dx[i], b.add_to_dx[i] != 0, b.samples * out_.elems());
  }
};

std::unique_ptr<const Layer> make_add(const Spec& spec, std::span<const Shape> in) {
  return std::make_unique<Add>(spec, in);
}

}  // namespace

LAYER(add, make_add, "| 4x6x16 4x6x16", "| 3x5x7 3x5x7", "| 1x1x1 1x1x1 1x1x1", "| 2x3x5 2x3x5 2x3x5 2x3x5")

}  // namespace mbs
