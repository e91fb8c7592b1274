// softmax_loss: cross entropy of the softmax of c logits against a label, with label smoothing e (Szegedy et
// al., CVPR 2016):
//   p = softmax(x),  target = (1 - e) [i = label] + e / c,  loss = - sum target log p
// The output is {loss, p_0 ... p_(c-1)}; backward starts the chain: dx = (p - target) / batch.

#include <algorithm>
#include <cmath>

#include "engine/check.h"
#include "layers/registry.h"
#include "layers/shapes.h"

namespace mbs {
namespace {

class SoftmaxLoss final : public Layer {
 public:
  SoftmaxLoss(const Spec& spec, std::span<const Shape> in) : Layer(in) {
    check_input_count(spec, in, 1);
    smoothing_ = spec.number_or("smoothing", 0, 0, 1);
    if (in[0].pixels() != 1)
      fail_usage("layer '{}': takes the logits of one label, 1x1xC, not {}; pool or flatten before it",
                 spec.text(), to_text(in));
    classes_ = in[0].c;
    out_ = {1, 1, 1 + classes_};
  }

  Needs needs(bool) const override { return {.y = true}; }
  bool is_loss() const override { return true; }

  void forward(const Forward& f) const override {
    for (int s = 0; s < f.samples; ++s)
      one_loss(f.x[0] + int64_t{s} * classes_, label(f.labels, s), f.y + int64_t{s} * (1 + classes_));
  }

  void backward(const Backward& b) const override {
    if (b.dx[0] == nullptr) return;
    const double per_sample = 1.0 / b.batch;
    for (int64_t s = 0; s < b.samples; ++s) {
      const real* p = b.y + s * (1 + classes_) + 1;
      real* dx = b.dx[0] + s * classes_;
      const int wanted = label(b.labels, s);
      for (int i = 0; i < classes_; ++i) {
        const double g = wanted < 0 ? 0 : (static_cast<double>(p[i]) - target(i, wanted)) * per_sample;
        dx[i] = (b.add_to_dx[0] ? dx[i] : real(0)) + static_cast<real>(g);
      }
    }
  }

 private:
  // No labels at all is inference: every label is unknown.
  int label(const int* labels, int64_t s) const {
    const int label = labels == nullptr ? -1 : labels[s];
    CHECK(label >= -1 && label < classes_, "label {} of {} classes", label, classes_);
    return label;
  }

  double target(int i, int wanted) const {
    return (i == wanted ? 1 - smoothing_ : 0) + smoothing_ / classes_;
  }

  // Logits are taken relative to the largest, so that no exponential overflows. NaN logits make the loss NaN.
  void one_loss(const real* x, int wanted, real* y) const {
    const double largest = *std::max_element(x, x + classes_);
    double sum = 0;
    for (int i = 0; i < classes_; ++i) {
      const double e = std::exp(x[i] - largest);
      sum += e;
      y[1 + i] = static_cast<real>(e);
    }
    const double log_sum = std::log(sum), one_over_sum = 1 / sum;
    double loss = 0;
    for (int i = 0; i < classes_; ++i) {
      y[1 + i] = static_cast<real>(y[1 + i] * one_over_sum);
      // A target of zero times the log of a vanishing probability is zero, not NaN.
      if (wanted >= 0 && target(i, wanted) > 0) loss -= target(i, wanted) * (x[i] - largest - log_sum);
    }
    y[0] = static_cast<real>(loss);
  }

  double smoothing_;
  int classes_;
};

std::unique_ptr<const Layer> make_softmax_loss(const Spec& spec, std::span<const Shape> in) {
  return std::make_unique<SoftmaxLoss>(spec, in);
}

}  // namespace

LAYER(softmax_loss, make_softmax_loss, "| 1x1x10", "smoothing=0.1 | 1x1x7", "| 1x1x2", "smoothing=1 | 1x1x3")

}  // namespace mbs
