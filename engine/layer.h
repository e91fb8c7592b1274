// A layer is a pure function and its derivative. It owns its attributes and shapes and nothing else: every
// buffer is an argument, so any number of sub-batches may be between forward and backward, and cores share
// one object.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/event.h"
#include "engine/real.h"
#include "engine/shape.h"
#include "engine/spec.h"

namespace mbs {

/// What a parameter is; decides weight decay, initialisation and how interchange formats lay it out.
enum class ParamKind {
  conv_weight,    ///< dims = {kh, kw, c_in, c_out}
  linear_weight,  ///< dims = {in, out}
  bias,           ///< dims = {c_out}
  norm_scale,     ///< dims = {c}
  norm_shift,     ///< dims = {c}
};

/// How a parameter starts.
enum class Init { zero, one, he_normal };

/// One trained parameter of a layer. `fan` is what he_normal divides by: values are normal with variance 2 /
/// fan.
struct ParamSpec {
  std::string name;  ///< as in torchvision: "weight", "bias"
  ParamKind kind;
  std::vector<int> dims;
  Init init;
  int64_t fan = 1;
  bool standardized = false;  ///< the layer reads it as WeightStandardization makes it
};

/// One state array of a layer: kept between steps but not trained (batch norm's running statistics).
struct StateSpec {
  std::string name;  ///< as in torchvision: "running_mean", "running_var"
  int64_t elems;
  real initial;
};

/// What backward needs and how a layer goes over its data. Sweeps are for the accounting of an order that
/// keeps nothing on chip: how often a layer that cannot hold its operand reads it.
struct Needs {
  bool x = false;                     ///< backward reads the inputs: they are stored
  bool y = false;                     ///< backward reads the output: it is stored
  Role aux_role = Role::none;         ///< what aux holds; Role::none: nothing that is counted
  int64_t aux_bytes_per_sample = 0;   ///< kept per sample from forward to backward
  int64_t aux_bytes_per_batch = 0;    ///< kept once per core (only for layers that couple samples)
  int64_t forward_scratch_elems = 0;  ///< working space of one call, whatever its number of samples
  int64_t backward_scratch_elems = 0;
  int64_t prepared_elems = 0;     ///< parameters as its kernels read them: made once per step, for all cores
  int64_t accumulator_elems = 0;  ///< per core: parameter gradients in a form of its own, while a step lasts
  int x_sweeps = 1;               ///< forward reads of each input
  int stored_sweeps = 1;          ///< backward reads of each stored tensor
  int gradient_sweeps = 1;        ///< backward reads of dy
};

/// What names the random values of a training step.
struct StepKey {
  uint64_t seed = 0;
  uint64_t step = 0;  ///< counts update steps from the start of training
};

/// Arguments of Layer::forward. All pointers are to the first of `samples` samples.
struct Forward {
  int samples = 0;
  int first_sample =
      0;         ///< its index in the mini-batch of all cores; with `key` and `node` it keys random values
  int node = 0;  ///< names this layer among those of the network
  bool training = true;  ///< false: no aux is kept (both aux pointers are null), running statistics are used
  StepKey key;
  std::span<const real* const> x;       ///< x[i]: samples x in_shapes()[i]
  real* y = nullptr;                    ///< samples x out_shape(); every element is assigned
  std::span<const real* const> params;  ///< one per ParamSpec
  const real* prepared = nullptr;       ///< prepared_elems
  std::span<const real* const> state;   ///< one per StateSpec
  std::byte* aux = nullptr;             ///< samples x aux_bytes_per_sample
  std::byte* batch_aux = nullptr;       ///< aux_bytes_per_batch
  real* scratch = nullptr;              ///< forward_scratch_elems, contents undefined
  const int* labels = nullptr;          ///< of these samples; -1: unknown (loss 0)
};

/// Arguments of Layer::backward: f = dot(y, dy); it gives the gradient of f.
struct Backward {
  int samples = 0;
  int first_sample = 0;
  int node = 0;
  StepKey key;
  std::span<const real* const> x;  ///< null entries unless needs().x
  const real* y = nullptr;         ///< null unless needs().y
  const real* dy = nullptr;        ///< samples x out_shape(); null for a loss, which starts the chain
  /// dx[i]: samples x in_shapes()[i]; null: not wanted. Where add_to_dx[i] the gradient is added to what is
  /// there, elsewhere every element is assigned. dx[i] never overlaps dy or x.
  std::span<real* const> dx;
  std::span<const uint8_t> add_to_dx;
  std::span<const real* const> params;
  const real* prepared = nullptr;  ///< prepared_elems
  /// Gradients are added: one chain of additions in sample order. A layer with an accumulator adds to it
  /// instead, and finish_gradients() brings it here. A layer with matrix products may be given null pointers:
  /// only its data gradients are wanted.
  std::span<real* const> dparams;
  real* accumulator = nullptr;  ///< accumulator_elems, zero before the first chunk
  const std::byte* aux = nullptr;
  const std::byte* batch_aux = nullptr;
  real* scratch = nullptr;  ///< backward_scratch_elems, contents undefined
  const int* labels = nullptr;
  int batch = 1;  ///< samples of the mini-batch of all cores; a loss divides by it
};

/// A layer with its attributes, bound to the shapes of its inputs.
///
/// Contract. forward and backward over samples A and then B give the same bits as over A + B (unless
/// couples_samples()), data gradients and parameter gradients alike.
class Layer {
 public:
  virtual ~Layer() = default;

  std::span<const Shape> in_shapes() const { return in_; }
  const Shape& in_shape() const { return in_[0]; }
  const Shape& out_shape() const { return out_; }

  virtual std::vector<ParamSpec> params() const { return {}; }
  virtual std::vector<StateSpec> states() const { return {}; }
  /// `wants_dx`: whether backward is asked for data gradients (the first convolution is not).
  virtual Needs needs(bool wants_dx) const = 0;

  /// True: its samples cannot be split over chunks (batch norm).
  virtual bool couples_samples() const { return false; }
  /// True: dx[i] = dy for every input, so that no backward call is needed where the gradient can be passed on
  /// (add).
  virtual bool passes_gradient() const { return false; }
  /// True: the output is its inputs side by side in channels, which a machine writes in place (concat).
  virtual bool concatenates() const { return false; }
  /// True: a machine can write the output over the (first) input, element by element or sample by sample.
  virtual bool in_place() const { return false; }
  /// True: y is {loss, probability of each class} and backward starts the chain.
  virtual bool is_loss() const { return false; }

  /// The matrix products that forward or backward do over `samples` samples, as PAPER-style (M, N, K).
  virtual std::vector<GemmShape> gemms(Phase, int samples, bool wants_dx) const {
    (void)samples, (void)wants_dx;
    return {};
  }
  /// Whether forward is a matrix product, and no pass over each value.
  bool has_matrix_product() const { return !gemms(Phase::forward, 1, false).empty(); }

  /// Brings the parameters into the form that the kernels read, once before the chunks of a step. Without
  /// `wants_dx` only forward follows, or a backward that is asked for no data gradients.
  virtual void prepare(std::span<const real* const> params, bool wants_dx, real* prepared) const {
    (void)params, (void)wants_dx, (void)prepared;
  }
  virtual void forward(const Forward&) const = 0;
  virtual void backward(const Backward&) const = 0;
  /// Adds what the accumulator holds to the gradients, once after the last chunk of a step, and leaves zeros.
  virtual void finish_gradients(real* accumulator, std::span<real* const> dparams) const {
    (void)accumulator, (void)dparams;
  }

  /// After a step: folds what each core left in batch_aux (in core order, `samples[i]` samples each) into the
  /// state.
  virtual void update_state(std::span<const std::byte* const> batch_aux, std::span<const int> samples,
                            std::span<real* const> state) const {
    (void)batch_aux, (void)samples, (void)state;
  }

 protected:
  explicit Layer(std::span<const Shape> in) : in_(in.begin(), in.end()) {}
  std::vector<Shape> in_;
  Shape out_;  ///< set by the constructor of each layer
};

/// What makes a layer from its specification. Error (usage): bad attributes, or inputs that cannot fit; the
/// message names the specification and the shapes.
using LayerMaker = std::unique_ptr<const Layer> (*)(const Spec&, std::span<const Shape> in);

}  // namespace mbs
