// pad_shortcut: the parameter-free shortcut of CIFAR ResNets (option A of He et al. 2015, section 4.2): every
// stride-th pixel of every stride-th row, and zeros for the new channels, half before the old ones and half
// after. The same as PyTorch's F.pad(x[:, :, ::s, ::s], (0, 0, 0, 0, p, out - c - p)) with p = (out - c) / 2.

#include <algorithm>

#include "engine/check.h"
#include "layers/kernels/elementwise.h"
#include "layers/registry.h"
#include "layers/shapes.h"

namespace mbs {
namespace {

class PadShortcut final : public Layer {
 public:
  PadShortcut(const Spec& spec, std::span<const Shape> in) : Layer(in) {
    check_input_count(spec, in, 1);
    const int channels = spec.required_int("out");
    stride_ = spec.int_or("stride", 2, 1);
    if (channels < in[0].c)
      fail_usage("layer '{}': out={} is less than the {} channels of its input {}", spec.text(), channels,
                 in[0].c, to_text(in));
    out_ = {(in[0].h - 1) / stride_ + 1, (in[0].w - 1) / stride_ + 1, channels};
    before_ = (channels - in[0].c) / 2;
  }

  Needs needs(bool) const override { return {}; }

  void forward(const Forward& f) const override {
    const int64_t kept = in_[0].c;
    for (int s = 0; s < f.samples; ++s) {
      std::fill_n(f.y + s * out_.elems(), out_.elems(), real(0));
      for_pixels(s, [&](int64_t in, int64_t out) { std::copy_n(f.x[0] + in, kept, f.y + out); });
    }
  }

  void backward(const Backward& b) const override {
    if (b.dx[0] == nullptr) return;
    const bool add = b.add_to_dx[0] != 0;
    if (!add) std::fill_n(b.dx[0], b.samples * in_[0].elems(), real(0));
    for (int s = 0; s < b.samples; ++s)
      for_pixels(s, [&](int64_t in, int64_t out) { copy_or_add(b.dy + out, b.dx[0] + in, add, in_[0].c); });
  }

 private:
  // Calls visit(first element of the pixel read, first element of the channels it goes to) for the pixels of
  // sample s.
  template <class Visit>
  void for_pixels(int64_t s, Visit&& visit) const {
    for (int h = 0; h < out_.h; ++h)
      for (int w = 0; w < out_.w; ++w)
        visit(s * in_[0].elems() + (int64_t{h} * stride_ * in_[0].w + w * stride_) * in_[0].c,
              s * out_.elems() + (int64_t{h} * out_.w + w) * out_.c + before_);
  }

  int stride_, before_;
};

std::unique_ptr<const Layer> make_pad_shortcut(const Spec& spec, std::span<const Shape> in) {
  return std::make_unique<PadShortcut>(spec, in);
}

}  // namespace

LAYER(pad_shortcut, make_pad_shortcut, "out=32 | 4x6x16", "out=8 stride=1 | 3x5x3", "out=10 stride=3 | 7x8x5",
      "out=5 | 5x3x5", "out=4 | 1x1x1")

}  // namespace mbs
