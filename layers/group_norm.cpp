// group_norm: every sample is normalised by itself, over all pixels of a group of adjacent channels (Wu and
// He, ECCV 2018). It knows no other sample, so it is the normalisation that a mini-batch can be serialised
// with.

#include "engine/check.h"
#include "layers/norm_layer.h"
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

class GroupNorm final : public NormLayer {
 public:
  GroupNorm(const Spec& spec, std::span<const Shape> in) : NormLayer(spec, in) {
    const int groups = spec.int_or("groups", 0, 1), group = spec.int_or("channels", 0, 1);
    if ((groups == 0) == (group == 0))
      fail_usage("layer '{}': give either groups=G or channels=C (the channels of one group)", spec.text());
    const int divisor = groups + group;  // one of them is 0
    if (out_.c % divisor != 0)
      fail_usage("layer '{}': {}={} does not divide the {} channels of its input {}; these do: {}",
                 spec.text(), groups > 0 ? "groups" : "channels", divisor, out_.c, to_text(in),
                 divisors(out_.c));
    shape_.groups = groups > 0 ? groups : out_.c / group;
  }

  Needs needs(bool) const override {
    Needs needs = common_needs();
    needs.aux_bytes_per_sample = aux_bytes();
    return needs;
  }

  void forward(const Forward& f) const override {
    const int64_t n = out_.elems();
    real* scratch = f.scratch + stats_elems();
    for (int s = 0; s < f.samples; ++s) {
      std::byte* aux = f.aux == nullptr ? nullptr : f.aux + s * aux_bytes();
      auto* stats =
          reinterpret_cast<GroupStats*>(aux == nullptr ? reinterpret_cast<std::byte*>(f.scratch) : aux);
      auto* mask = aux == nullptr ? nullptr : reinterpret_cast<uint8_t*>(aux + shape_.stats_bytes());
      group_statistics(shape_, f.x[0] + s * n, stats, scratch);
      group_normalize(shape_, f.x[0] + s * n, stats, f.params[0], f.params[1], f.y + s * n, mask, scratch);
    }
  }

  void backward(const Backward& b) const override {
    const int64_t n = out_.elems();
    for (int s = 0; s < b.samples; ++s) {
      const std::byte* aux = b.aux + s * aux_bytes();
      const auto* stats = reinterpret_cast<const GroupStats*>(aux);
      const auto* mask = reinterpret_cast<const uint8_t*>(aux + shape_.stats_bytes());
      real* dx = b.dx[0] == nullptr ? nullptr : b.dx[0] + s * n;
      group_norm_gradient(shape_, b.x[0] + s * n, b.dy + s * n, mask, stats, b.params[0], b.dparams[0],
                          b.dparams[1], dx, b.add_to_dx[0] != 0, b.scratch);
    }
  }

 private:
  // Of one sample: the statistics, then the mask, in whole GroupStats since the next sample's follow.
  int64_t aux_bytes() const {
    constexpr int64_t unit = sizeof(GroupStats);
    return shape_.stats_bytes() + (shape_.mask_bytes() + unit - 1) / unit * unit;
  }
};

std::unique_ptr<const Layer> make_group_norm(const Spec& spec, std::span<const Shape> in) {
  return std::make_unique<GroupNorm>(spec, in);
}

}  // namespace

LAYER(group_norm, make_group_norm, "groups=4 | 4x6x16", "groups=1 | 3x5x7", "groups=7 | 3x5x7",
      "groups=5 | 5x3x10", "channels=8 eps=0.001 | 3x3x24", "channels=1 | 7x3x3", "groups=2 | 1x1x6",
      "groups=3 | 17x5x33", "groups=4 relu=1 | 4x6x16", "groups=1 relu=1 | 3x5x7", "groups=5 relu=1 | 5x3x10",
      "groups=3 relu=1 | 17x5x33")

}  // namespace mbs
