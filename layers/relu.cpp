// relu: y = max(x, 0). Backward needs only the sign: one bit per element.

#include "layers/kernels/elementwise.h"
#include "layers/registry.h"
#include "layers/shapes.h"

namespace mbs {
namespace {

class Relu final : public Layer {
 public:
  Relu(const Spec& spec, std::span<const Shape> in) : Layer(in) {
    check_input_count(spec, in, 1);
    out_ = in[0];
  }

  Needs needs(bool) const override {
    return {.aux_role = Role::relu_mask, .aux_bytes_per_sample = mask_bytes(out_.elems())};
  }
  bool in_place() const override { return true; }

  // The mask of each sample starts at a byte of its own, so samples are gone over one by one.
  void forward(const Forward& f) const override {
    const int64_t n = out_.elems();
    for (int s = 0; s < f.samples; ++s)
      relu_forward(f.x[0] + s * n, f.y + s * n, sample_mask(f.aux, n, s), n);
  }

  void backward(const Backward& b) const override {
    if (b.dx[0] == nullptr) return;
    const int64_t n = out_.elems();
    for (int s = 0; s < b.samples; ++s)
      relu_backward(b.dy + s * n, sample_mask(b.aux, n, s), b.dx[0] + s * n, b.add_to_dx[0] != 0, n);
  }
};

std::unique_ptr<const Layer> make_relu(const Spec& spec, std::span<const Shape> in) {
  return std::make_unique<Relu>(spec, in);
}

}  // namespace

LAYER(relu, make_relu, "| 4x6x16", "| 3x5x7", "| 1x1x1", "| 1x1x8", "| 1x3x3", "| 5x2x33")

}  // namespace mbs
