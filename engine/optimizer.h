// Stochastic gradient descent over the flat parameter array, and how parameters start.
#pragma once

#include <span>
#include <vector>

#include "engine/network.h"

namespace mbs {

/// As in PyTorch: g = gradient + weight_decay * w;  v = momentum * v + g;  w -= lr * (nesterov ? g + momentum
/// * v : v).
struct SgdOptions {
  double momentum = 0.9;
  double weight_decay = 1e-4;
  bool nesterov = false;
  bool decay_norm_and_bias = true;  ///< false: weight decay leaves norm parameters and biases alone
};

/// SGD with momentum. Elementwise, so its bits do not depend on the number of threads.
class Sgd {
 public:
  Sgd(const Network&, const SgdOptions&, int threads);

  /// One update in one sweep over the arrays.
  void step(std::span<real> params, std::span<const real> gradients, double lr);

  /// The velocity of every parameter: part of a checkpoint. Laid out as Network::params().
  std::span<real> velocity() { return velocity_; }
  std::span<const real> velocity() const { return velocity_; }

 private:
  const Network& network_;
  SgdOptions options_;
  int threads_;
  std::vector<real> velocity_;
};

/// Moves `average` towards `params`, elementwise: average = decay * average + (1 - decay) * params.
void move_average(std::span<real> average, std::span<const real> params, double decay, int threads);
/// The decay after update `step` (from 0): less than `decay` at first, so that the average does not keep what
/// the weights began with: min(decay, (1 + step) / (10 + step)), as TensorFlow's ExponentialMovingAverage.
double average_decay(double decay, int64_t step);

/// Parameters as their ParamSpec says, keyed by (seed, index of the parameter); padding is zero.
std::vector<real> initial_params(const Network&, uint64_t seed);
/// States at their initial values.
std::vector<real> initial_states(const Network&);

}  // namespace mbs
