// batch_norm: every channel is normalised over all pixels of all samples that a core holds (Ioffe and
// Szegedy, ICML 2015), so its samples cannot be split over chunks. Inference uses running statistics, kept as
// PyTorch keeps them:
//   running = (1 - momentum) running + momentum * batch's     with the variance divided by n - 1.
// With several cores the batch's statistics are the mean of the cores', weighted by their samples.

#include <algorithm>

#include "layers/norm_layer.h"
#include "layers/registry.h"

namespace mbs {
namespace {

class BatchNorm final : public NormLayer {
 public:
  BatchNorm(const Spec& spec, std::span<const Shape> in)
      : NormLayer(spec, in), momentum_(spec.number_or("momentum", 0.1, 0, 1)) {}

  std::vector<StateSpec> states() const override {
    return {{"running_mean", out_.c, 0}, {"running_var", out_.c, 1}};
  }
  bool couples_samples() const override { return true; }

  Needs needs(bool) const override {
    Needs needs = common_needs();
    needs.aux_bytes_per_sample = shape_.mask_bytes();
    needs.aux_bytes_per_batch = shape_.stats_bytes();
    return needs;
  }

  void forward(const Forward& f) const override {
    const NormShape shape = shape_of(f.samples);
    auto* stats =
        reinterpret_cast<GroupStats*>(f.training ? f.batch_aux : reinterpret_cast<std::byte*>(f.scratch));
    real* scratch = f.scratch + stats_elems();
    if (f.training)
      group_statistics(shape, f.x[0], stats, scratch);
    else
      for (int c = 0; c < out_.c; ++c) stats[c] = {f.state[0][c], f.state[1][c]};
    group_normalize(shape, f.x[0], stats, f.params[0], f.params[1], f.y, reinterpret_cast<uint8_t*>(f.aux),
                    scratch);
  }

  void backward(const Backward& b) const override {
    group_norm_gradient(shape_of(b.samples), b.x[0], b.dy, reinterpret_cast<const uint8_t*>(b.aux),
                        reinterpret_cast<const GroupStats*>(b.batch_aux), b.params[0], b.dparams[0],
                        b.dparams[1], b.dx[0], b.add_to_dx[0] != 0, b.scratch);
  }

  void update_state(std::span<const std::byte* const> batch_aux, std::span<const int> samples,
                    std::span<real* const> state) const override {
    double total = 0;
    for (int n : samples) total += n;
    for (int c = 0; c < out_.c; ++c) {
      double mean = 0, variance = 0;
      for (size_t core = 0; core < samples.size(); ++core) {
        const GroupStats& stats = reinterpret_cast<const GroupStats*>(batch_aux[core])[c];
        const double n = static_cast<double>(samples[core]) * static_cast<double>(out_.pixels());
        const double share = samples[core] / total;
        mean += share * stats.mean;
        variance += share * stats.variance * n / std::max(n - 1, 1.0);  // a single value has no variance
      }
      state[0][c] = static_cast<real>((1 - momentum_) * state[0][c] + momentum_ * mean);
      state[1][c] = static_cast<real>((1 - momentum_) * state[1][c] + momentum_ * variance);
    }
  }

 private:
  // The samples side by side.
  NormShape shape_of(int samples) const {
    NormShape shape = shape_;
    shape.pixels *= samples;
    return shape;
  }

  double momentum_;
};

std::unique_ptr<const Layer> make_batch_norm(const Spec& spec, std::span<const Shape> in) {
  return std::make_unique<BatchNorm>(spec, in);
}

}  // namespace

LAYER(batch_norm, make_batch_norm, "| 4x6x16", "| 3x5x7", "eps=0.001 | 1x1x3", "momentum=0.3 | 2x3x33",
      "relu=1 | 4x6x16", "relu=1 | 3x5x7", "relu=1 | 2x3x33")

}  // namespace mbs
