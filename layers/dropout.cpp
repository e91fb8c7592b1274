// dropout: in training every element is kept with probability 1 - rate and divided by it, otherwise 0
// (Srivastava et al., JMLR 2014, in its inverted form); elsewhere the identity. What is kept is a function of
// (seed, step, node, sample, element), so backward recomputes it and no split of the batch changes it.

#include "engine/check.h"
#include "engine/random.h"
#include "layers/kernels/elementwise.h"
#include "layers/registry.h"
#include "layers/shapes.h"

namespace mbs {
namespace {

class Dropout final : public Layer {
 public:
  Dropout(const Spec& spec, std::span<const Shape> in) : Layer(in) {
    check_input_count(spec, in, 1);
    rate_ = spec.number_or("rate", 0.5, 0, 1);
    if (rate_ == 1) fail_usage("layer '{}': rate=1 keeps nothing; give a rate below 1", spec.text());
    out_ = in[0];
    scale_ = static_cast<real>(1 / (1 - rate_));
  }

  Needs needs(bool) const override { return {}; }
  bool in_place() const override { return true; }

  void forward(const Forward& f) const override {
    if (!f.training) {
      copy_or_add(f.x[0], f.y, false, f.samples * out_.elems());
      return;
    }
    apply(f, f.x[0], f.y, false);
  }

  void backward(const Backward& b) const override {
    if (b.dx[0] != nullptr) apply(b, b.dy, b.dx[0], b.add_to_dx[0] != 0);
  }

 private:
  // y = mask * x / (1 - rate), or +=. Call: Forward or Backward, which name the samples.
  template <class Call>
  void apply(const Call& call, const real* x, real* y, bool add) const {
    const int64_t n = out_.elems();
    const real factor[2] = {
        0, scale_};  // a table, since a branch on random bits is mispredicted half of the time
    for (int s = 0; s < call.samples; ++s) {
      const auto node = static_cast<uint64_t>(call.node),
                 sample = static_cast<uint64_t>(call.first_sample + s);
      const Random random(call.key.seed, Stream::dropout, call.key.step, node << 32 | sample);
      for (int64_t i = s * n, e = 0; e < n; ++i, ++e) {
        const real v = factor[random.uniform(static_cast<uint64_t>(e)) >= rate_] * x[i];
        y[i] = add ? y[i] + v : v;
      }
    }
  }

  double rate_;
  real scale_;
};

std::unique_ptr<const Layer> make_dropout(const Spec& spec, std::span<const Shape> in) {
  return std::make_unique<Dropout>(spec, in);
}

}  // namespace

LAYER(dropout, make_dropout, "| 1x1x64", "rate=0.25 | 3x5x7", "rate=0.9 | 4x3x16", "rate=0 | 2x3x1")

}  // namespace mbs
