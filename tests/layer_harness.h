// What the checks over the registry share: every example of every layer, inputs for it, and a way to run it
// over any split of its samples with guarded, poisoned buffers.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "engine/layer.h"

namespace mbs::testing {

/// One layer to check. `text` can be pasted back: "max_pool kernel=3 stride=2 | 9x8x17".
struct Subject {
  std::string text;
  std::shared_ptr<const Layer> layer;
};

/// Every example of every layer of the registry.
std::vector<Subject> all_subjects();
/// One subject from its text.
Subject make_subject(const std::string& text);

/// What a layer is called with, for `samples` samples.
struct Inputs {
  int samples = 0;
  int first_sample = 5;                   ///< its index in the mini-batch
  std::vector<std::vector<real>> x;       ///< of each input: a shuffled grid, see make_inputs
  std::vector<std::vector<real>> params;  ///< of each parameter
  std::vector<std::vector<real>> states;  ///< positive
  std::vector<real> dy;
  std::vector<int> labels;  ///< of a loss
};

/// Values of each input are a shuffled grid over [-2, 2]: any two are 4 / n apart, none is nearer to zero
/// than 1 / n, so that a step below half of that crosses no kink. Parameters and dy are normal.
Inputs make_inputs(const Layer&, int samples, uint64_t seed);

/// How run_layer() calls a layer.
struct RunOptions {
  std::vector<int> chunks = {};  ///< their sum is the number of samples; empty: one chunk
  bool training = true;
  bool backward = true;
  bool add_to_dx = false;        ///< dx starts as Run::dx_before, not as NaN
  bool every_second_dx = false;  ///< dx of inputs 0, 2, ... is not wanted
  bool wants_dx = true;
};

/// What came out. Outputs are NaN where nothing was written.
struct Run {
  std::vector<real> y;
  std::vector<std::vector<real>> dx, dx_before;            ///< of each input
  std::vector<std::vector<real>> dparams, dparams_before;  ///< of each parameter; they start as noise
  std::vector<std::byte> aux, batch_aux;
  std::string overrun;  ///< the buffers beyond whose ends something was written; empty: none
};

/// Prepares, then forward over all chunks and backward over all chunks, both in sample order. Every buffer
/// has exactly the declared size and lies between guards; y, dx and scratch start as NaN; what needs() does
/// not ask for is a null pointer.
Run run_layer(const Layer&, const Inputs&, const RunOptions&);

/// Chunk sizes that sum to `samples`: a random composition.
std::vector<int> random_chunks(int samples, uint64_t seed);

/// Bitwise equality, which holds for NaN too.
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b);
bool all_finite(const std::vector<real>&);

/// A layer that does what another does; tests derive layers with a planted fault from it.
class Wrapper : public Layer {
 public:
  explicit Wrapper(const std::string& text);
  std::vector<ParamSpec> params() const override { return inner_->params(); }
  std::vector<StateSpec> states() const override { return inner_->states(); }
  Needs needs(bool wants_dx) const override { return inner_->needs(wants_dx); }
  bool couples_samples() const override { return inner_->couples_samples(); }
  bool is_loss() const override { return inner_->is_loss(); }
  void forward(const Forward& f) const override { inner_->forward(f); }
  void backward(const Backward& b) const override { inner_->backward(b); }
  void prepare(std::span<const real* const> params, bool wants_dx, real* prepared) const override {
    inner_->prepare(params, wants_dx, prepared);
  }
  void finish_gradients(real* accumulator, std::span<real* const> dparams) const override {
    inner_->finish_gradients(accumulator, dparams);
  }

 protected:
  explicit Wrapper(std::shared_ptr<const Layer> inner);
  std::shared_ptr<const Layer> inner_;
};

}  // namespace mbs::testing
