// batch_norm: every channel is normalised over all pixels of all samples that a core holds (Ioffe and
// Szegedy, ICML 2015), so its samples cannot be split over chunks. Inference uses running statistics, kept as
// PyTorch keeps them:
//   running = (1 - momentum) running + momentum * batch's     with the variance divided by n - 1.
// With several cores the batch's statistics are the mean of the cores', weighted by their samples.

#include <algorithm>
#include <cstring>

#include "layers/normalization.h"
#include "layers/registry.h"
#include "layers/shapes.h"

namespace mbs {
namespace {

class BatchNorm final : public Layer {
 public:
  BatchNorm(const Spec& spec, std::span<const Shape> in) : Layer(in) {
    check_input_count(spec, in, 1);
    out_ = in[0];
    momentum_ = spec.number_or("momentum", 0.1, 0, 1);
    eps_ = spec.number_or("eps", 1e-5, 1e-12, 1);
  }

  std::vector<ParamSpec> params() const override {
    return {{"weight", ParamKind::norm_scale, {out_.c}, Init::one},
            {"bias", ParamKind::norm_shift, {out_.c}, Init::zero}};
  }
  std::vector<StateSpec> states() const override {
    return {{"running_mean", out_.c, 0}, {"running_var", out_.c, 1}};
  }
  bool couples_samples() const override { return true; }

  Needs needs(bool) const override {
    return {.x = true,
            .aux_bytes_per_batch = stats_bytes(),
            .forward_scratch_elems =
                stats_bytes() / static_cast<int64_t>(sizeof(real)) + norm_scratch_elems(out_.c),
            .backward_scratch_elems = norm_scratch_elems(out_.c),
            .x_sweeps = 2,
            .stored_sweeps = 2,
            .gradient_sweeps = 2};
  }
  bool in_place() const override { return true; }

  void forward(const Forward& f) const override {
    auto* stats =
        reinterpret_cast<GroupStats*>(f.training ? f.batch_aux : reinterpret_cast<std::byte*>(f.scratch));
    real* scratch = f.scratch + stats_bytes() / static_cast<int64_t>(sizeof(real));
    if (f.training)
      group_statistics(norm_shape(f.samples), f.x[0], stats, scratch);
    else
      for (int c = 0; c < out_.c; ++c) stats[c] = {f.state[0][c], f.state[1][c]};
    group_normalize(norm_shape(f.samples), f.x[0], stats, f.params[0], f.params[1], f.y, scratch);
  }

  void backward(const Backward& b) const override {
    group_norm_gradient(norm_shape(b.samples), b.x[0], b.dy, reinterpret_cast<const GroupStats*>(b.batch_aux),
                        b.params[0], b.dparams[0], b.dparams[1], b.dx[0], b.add_to_dx[0] != 0, b.scratch);
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
  int64_t stats_bytes() const { return out_.c * static_cast<int64_t>(sizeof(GroupStats)); }
  NormShape norm_shape(int samples) const { return {samples * out_.pixels(), out_.c, out_.c, eps_}; }

  double momentum_, eps_;
};

std::unique_ptr<const Layer> make_batch_norm(const Spec& spec, std::span<const Shape> in) {
  return std::make_unique<BatchNorm>(spec, in);
}

}  // namespace

LAYER(batch_norm, make_batch_norm, "| 4x6x16", "| 3x5x7", "eps=0.001 | 1x1x3", "momentum=0.3 | 2x3x33")

}  // namespace mbs
