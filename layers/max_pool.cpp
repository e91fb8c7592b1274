// max_pool: the largest element of each window. Backward needs which one it was: one byte per output.

#include "engine/check.h"
#include "layers/kernels/pool.h"
#include "layers/registry.h"

namespace mbs {
namespace {

class MaxPool final : public Layer {
 public:
  MaxPool(const Spec& spec, std::span<const Shape> in) : Layer(in) {
    check_input_count(spec, in, 1);
    window_ = pooling_window(spec);
    if (window_.kernel.h * window_.kernel.w > 256)
      fail_usage("layer '{}': a kernel of {}x{} has more than 256 elements", spec.text(), window_.kernel.h,
                 window_.kernel.w);
    out_ = window_shape(spec, in[0], window_, in[0].c);
  }

  Needs needs(bool) const override {
    return {.aux_role = Role::pool_index, .aux_bytes_per_sample = out_.elems()};
  }

  void forward(const Forward& f) const override {
    max_pool_forward(in_[0], out_, window_, f.samples, f.x[0], f.y, reinterpret_cast<uint8_t*>(f.aux));
  }

  void backward(const Backward& b) const override {
    if (b.dx[0] == nullptr) return;
    max_pool_backward(in_[0], out_, window_, b.samples, b.dy, reinterpret_cast<const uint8_t*>(b.aux),
                      b.dx[0], b.add_to_dx[0] != 0);
  }

 private:
  Window window_;
};

std::unique_ptr<const Layer> make_max_pool(const Spec& spec, std::span<const Shape> in) {
  return std::make_unique<MaxPool>(spec, in);
}

}  // namespace

LAYER(max_pool, make_max_pool, "kernel=2 | 4x6x16", "kernel=3 stride=2 pad=1 | 7x6x5",
      "kernel=3 stride=1 pad=1 | 5x4x3", "kernel=2 stride=3 | 8x7x7",
      "kernel=3x2 stride=2x1 pad=1x0 | 6x5x10", "kernel=3 stride=2 | 9x8x17", "kernel=1 | 2x3x1",
      "kernel=3 pad=2 | 1x1x2")

}  // namespace mbs
