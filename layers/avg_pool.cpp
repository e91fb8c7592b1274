// avg_pool: the mean of each window; padding counts as zeros, as PyTorch's count_include_pad=True does. With
// count_pad=0 it does not count: the mean of what lies inside the image (TensorFlow's rule).
// global_avg_pool: the mean over all pixels of each channel, the average pool whose window is the image.

#include "layers/kernels/pool.h"
#include "layers/registry.h"

namespace mbs {
namespace {

class AvgPool final : public Layer {
 public:
  AvgPool(const Spec& spec, std::span<const Shape> in, const Window& window, AvgOver over)
      : Layer(in), window_(window), over_(over) {
    out_ = window_shape(spec, in[0], window_, in[0].c);
  }

  Needs needs(bool) const override { return {}; }

  void forward(const Forward& f) const override {
    avg_pool_forward(in_[0], out_, window_, over_, f.samples, f.x[0], f.y);
  }

  void backward(const Backward& b) const override {
    if (b.dx[0] != nullptr)
      avg_pool_backward(in_[0], out_, window_, over_, b.samples, b.dy, b.dx[0], b.add_to_dx[0] != 0);
  }

 private:
  Window window_;
  AvgOver over_;
};

std::unique_ptr<const Layer> make_avg_pool(const Spec& spec, std::span<const Shape> in) {
  check_input_count(spec, in, 1);
  const AvgOver over = spec.int_or("count_pad", 1) != 0 ? AvgOver::kernel : AvgOver::image;
  return std::make_unique<AvgPool>(spec, in, pooling_window(spec), over);
}

std::unique_ptr<const Layer> make_global_avg_pool(const Spec& spec, std::span<const Shape> in) {
  check_input_count(spec, in, 1);
  const Extent image = {in[0].h, in[0].w};
  return std::make_unique<AvgPool>(spec, in, Window{image, image, {0, 0}}, AvgOver::kernel);
}

}  // namespace

LAYER(avg_pool, make_avg_pool, "kernel=2 | 4x6x16", "kernel=3 stride=2 pad=1 | 7x6x5",
      "kernel=3 stride=1 pad=1 | 5x4x3", "kernel=2 stride=3 | 8x7x7",
      "kernel=3x2 stride=2x1 pad=1x0 | 6x5x10", "kernel=5 stride=2 | 9x8x17", "kernel=1 | 2x3x1",
      "kernel=3 pad=2 | 1x1x2", "kernel=3 stride=1 pad=1 count_pad=0 | 5x4x3",
      "kernel=3x2 stride=2x1 pad=1x0 count_pad=0 | 6x5x10")

LAYER(global_avg_pool, make_global_avg_pool, "| 4x6x16", "| 3x5x7", "| 1x1x3", "| 7x1x33")

}  // namespace mbs
