// global_avg_pool: the mean over all pixels of each channel, one pixel out. An average pool whose window is
// the image.

#include "layers/kernels/pool.h"
#include "layers/registry.h"

namespace mbs {
namespace {

class GlobalAvgPool final : public Layer {
 public:
  GlobalAvgPool(const Spec& spec, std::span<const Shape> in) : Layer(in) {
    check_input_count(spec, in, 1);
    out_ = {1, 1, in[0].c};
    window_ = {{in[0].h, in[0].w}, {1, 1}, {0, 0}};
  }

  Needs needs(bool) const override { return {}; }

  void forward(const Forward& f) const override {
    avg_pool_forward(in_[0], out_, window_, f.samples, f.x[0], f.y);
  }

  void backward(const Backward& b) const override {
    if (b.dx[0] != nullptr)
      avg_pool_backward(in_[0], out_, window_, b.samples, b.dy, b.dx[0], b.add_to_dx[0] != 0);
  }

 private:
  Window window_;
};

std::unique_ptr<const Layer> make_global_avg_pool(const Spec& spec, std::span<const Shape> in) {
  return std::make_unique<GlobalAvgPool>(spec, in);
}

}  // namespace

LAYER(global_avg_pool, make_global_avg_pool, "| 4x6x16", "| 3x5x7", "| 1x1x3", "| 7x1x33")

}  // namespace mbs
