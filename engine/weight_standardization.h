// Weight standardization (Qiao, Wang, Liu, Shen, Yuille, "Micro-Batch Training with Batch-Channel
// Normalization and Weight Standardization", 2019, arXiv:1903.10520): what a convolution multiplies with is
// its trained weights, each filter w brought to mean 0 and to a fixed length,
//
//     v = (w - mean(w)) / sqrt(n (var(w) + 1e-6)),
//
// n = values of a filter, so that |v| = 1. It gives group norm what it lacks beside batch norm, and knows no
// sample: it is done once per step before the walk of the cores, and once after it for the gradients.
#pragma once

#include <span>
#include <vector>

#include "engine/network.h"

namespace mbs {

/// The weights of a network as its layers read them, and their gradients as its optimizer reads them.
class WeightStandardization {
 public:
  /// Takes memory for the parameters that have ParamSpec::standardized; without any, all below do nothing.
  explicit WeightStandardization(const Network&);

  /// All parameters, standardized where that is asked for; valid until the next call. Lays them out as
  /// Network::params() does.
  std::span<const real> apply(std::span<const real> params, int threads);
  /// Turns the gradients of what apply() has last made into those of what it was made of.
  void to_gradients(std::span<real> gradients, int threads) const;

 private:
  std::span<const ParamInfo> params_;  // empty where none is standardized
  std::vector<real> values_;           // of the last apply()
  std::vector<std::vector<double>>
      scale_;  // of the last apply(): by parameter and filter; empty: not standardized
};

}  // namespace mbs
