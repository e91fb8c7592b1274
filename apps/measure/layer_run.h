// One layer with buffers of its own, as an executor would call it: for measuring and checking kernels. The
// one place of apps/ that calls layers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/arena.h"
#include "engine/layer.h"

namespace mbs {

class LayerRun {
 public:
  /// Inputs, parameters and dy are random. `wants_dx`: the gradients of all inputs are wanted, or none.
  LayerRun(std::shared_ptr<const Layer> layer, int samples, bool wants_dx);

  const Layer& layer() const { return *layer_; }
  int samples() const { return samples_; }
  bool wants_dx() const { return wants_dx_; }

  std::span<const real> x(size_t i) const { return x_[i]; }
  std::span<const real> params(size_t i) const { return params_[i]; }
  std::span<const real> y() const { return y_; }
  std::span<const real> dy() const { return dy_; }
  std::span<const real> dx(size_t i) const { return dx_[i]; }
  std::span<const real> dparams(size_t i) const { return dparams_[i]; }
  const int* labels() const { return labels_.data(); }

  /// What backward is asked for; `data` and `weights` alone only of layers with matrix products.
  enum class Gradients { all, data, weights };
  void prepare();
  void forward();
  void backward(Gradients wanted);
  void finish_gradients();

  /// Random dy of some samples, and zeros of all others.
  void set_dy(std::span<const int> samples);
  void clear_dparams();
  /// Whether the layer has something to prepare, or gradients to finish, once a step.
  bool prepares() const { return needs_.prepared_elems > 0; }
  bool accumulates() const { return needs_.accumulator_elems > 0; }

  /// Bytes that one forward call must read and write, each operand once; and one call of backward with all
  /// gradients.
  int64_t forward_bytes() const;
  int64_t backward_bytes() const;
  int64_t prepare_bytes() const;
  int64_t finish_bytes() const;

 private:
  void bind();

  std::shared_ptr<const Layer> layer_;
  int samples_;
  bool wants_dx_;
  Needs needs_;
  std::unique_ptr<Arena> memory_;
  std::vector<std::span<real>> x_, params_, states_, dx_, dparams_;
  std::span<real> y_, dy_, forward_scratch_, backward_scratch_, prepared_, accumulator_;
  std::byte *aux_ = nullptr, *batch_aux_ = nullptr;
  std::vector<int> labels_;
  std::vector<const real*> x_in_, params_in_, states_in_;  // arguments of the calls
  std::vector<real*> dx_out_, dparams_out_, nothing_;
  std::vector<uint8_t> add_;
};

}  // namespace mbs
