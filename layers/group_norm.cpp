// group_norm: every sample is normalised by itself, over all pixels of a group of adjacent channels (Wu and
// He, ECCV 2018). It knows no other sample, so it is the normalisation that a mini-batch can be serialised
// with.

#include "engine/check.h"
#include "layers/normalization.h"
#include "layers/registry.h"
#include "layers/shapes.h"

namespace mbs {
namespace {

std::string divisors(int n) {
  std::string text;
  for (int d = 1; d <= n; ++d)
    if (n % d == 0) text += (text.empty() ? "" : ", ") + std::to_string(d);
  return text;
}

class GroupNorm final : public Layer {
 public:
  GroupNorm(const Spec& spec, std::span<const Shape> in) : Layer(in) {
    check_input_count(spec, in, 1);
    out_ = in[0];
    const int groups = spec.int_or("groups", 0, 1), group = spec.int_or("channels", 0, 1);
    if ((groups == 0) == (group == 0))
      fail_usage("layer '{}': give either groups=G or channels=C (the channels of one group)", spec.text());
    const int divisor = groups + group;  // one of them is 0
    if (out_.c % divisor != 0)
      fail_usage("layer '{}': {}={} does not divide the {} channels of its input {}; these do: {}",
                 spec.text(), groups > 0 ? "groups" : "channels", divisor, out_.c, to_text(in),
                 divisors(out_.c));
    shape_ = {out_.pixels(), out_.c, groups > 0 ? groups : out_.c / group,
              spec.number_or("eps", 1e-5, 1e-12, 1)};
  }

  std::vector<ParamSpec> params() const override {
    return {{"weight", ParamKind::norm_scale, {out_.c}, Init::one},
            {"bias", ParamKind::norm_shift, {out_.c}, Init::zero}};
  }

  Needs needs(bool) const override {
    return {.x = true,
            .aux_bytes_per_sample = shape_.groups * static_cast<int64_t>(sizeof(GroupStats)),
            .forward_scratch_elems = shape_.groups * kRealsPerStats + norm_scratch_elems(out_.c),
            .backward_scratch_elems = norm_scratch_elems(out_.c),
            .x_sweeps = 2,
            .stored_sweeps = 2,
            .gradient_sweeps = 2};
  }
  bool in_place() const override { return true; }

  void forward(const Forward& f) const override {
    const int64_t n = out_.elems();
    // The statistics are kept in aux; without one, in front of the other working space.
    auto* stats =
        reinterpret_cast<GroupStats*>(f.aux == nullptr ? reinterpret_cast<std::byte*>(f.scratch) : f.aux);
    real* scratch = f.scratch + shape_.groups * kRealsPerStats;
    for (int s = 0; s < f.samples; ++s) {
      group_statistics(shape_, f.x[0] + s * n, stats, scratch);
      group_normalize(shape_, f.x[0] + s * n, stats, f.params[0], f.params[1], f.y + s * n, scratch);
      if (f.aux != nullptr) stats += shape_.groups;
    }
  }

  void backward(const Backward& b) const override {
    const int64_t n = out_.elems();
    const auto* stats = reinterpret_cast<const GroupStats*>(b.aux);
    for (int s = 0; s < b.samples; ++s) {
      real* dx = b.dx[0] == nullptr ? nullptr : b.dx[0] + s * n;
      group_norm_gradient(shape_, b.x[0] + s * n, b.dy + s * n, stats + s * shape_.groups, b.params[0],
                          b.dparams[0], b.dparams[1], dx, b.add_to_dx[0] != 0, b.scratch);
    }
  }

 private:
  static constexpr int64_t kRealsPerStats = static_cast<int64_t>(sizeof(GroupStats) / sizeof(real));
  NormShape shape_;
};

std::unique_ptr<const Layer> make_group_norm(const Spec& spec, std::span<const Shape> in) {
  return std::make_unique<GroupNorm>(spec, in);
}

}  // namespace

LAYER(group_norm, make_group_norm, "groups=4 | 4x6x16", "groups=1 | 3x5x7", "groups=7 | 3x5x7",
      "groups=5 | 5x3x10", "channels=8 eps=0.001 | 3x3x24", "channels=1 | 7x3x3", "groups=2 | 1x1x6",
      "groups=3 | 17x5x33")

}  // namespace mbs
