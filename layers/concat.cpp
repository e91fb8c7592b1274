// concat: its inputs side by side in channels, as at the end of an inception module.

#include "engine/check.h"
#include "layers/kernels/elementwise.h"
#include "layers/registry.h"
#include "layers/shapes.h"

namespace mbs {
namespace {

class Concat final : public Layer {
 public:
  Concat(const Spec& spec, std::span<const Shape> in) : Layer(in) {
    if (in.size() < 2) fail_usage("layer '{}': takes two or more inputs, not {}", spec.text(), in.size());
    out_ = {in[0].h, in[0].w, 0};
    for (const Shape& shape : in) {
      if (shape.h != out_.h || shape.w != out_.w)
        fail_usage("layer '{}': its inputs differ in height or width: {}", spec.text(), to_text(in));
      out_.c += shape.c;
    }
  }

  Needs needs(bool) const override { return {}; }
  bool concatenates() const override { return true; }

  void forward(const Forward& f) const override {
    real* y = f.y;
    for (int64_t p = 0; p < f.samples * out_.pixels(); ++p)
      for (size_t i = 0; i < in_.size(); ++i) {
        copy_or_add(f.x[i] + p * in_[i].c, y, false, in_[i].c);
        y += in_[i].c;
      }
  }

  void backward(const Backward& b) const override {
    const real* dy = b.dy;
    for (int64_t p = 0; p < b.samples * out_.pixels(); ++p)
      for (size_t i = 0; i < in_.size(); ++i) {
        if (b.dx[i] != nullptr) copy_or_add(dy, b.dx[i] + p * in_[i].c, b.add_to_dx[i] != 0, in_[i].c);
        dy += in_[i].c;
      }
  }
};

std::unique_ptr<const Layer> make_concat(const Spec& spec, std::span<const Shape> in) {
  return std::make_unique<Concat>(spec, in);
}

}  // namespace

LAYER(concat, make_concat, "| 4x3x16 4x3x32", "| 3x5x7 3x5x1 3x5x5", "| 1x1x1 1x1x2", "| 2x3x3 2x3x10")

}  // namespace mbs
