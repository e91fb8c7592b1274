// The error of a layer's kernels: what they give beside the layer's definition, computed in double.
#pragma once

#include <optional>
#include <string_view>

#include "apps/measure/layer_run.h"

namespace mbs {

/// Largest difference, relative to the largest value of the same array. Of a layer without a reference
/// (dropout, softmax_loss): none. Infinite where a result is not finite.
struct Residuals {
  std::optional<double> y, dx, dparams;

  /// The largest one; 0 if there is none.
  double largest() const;
};

/// Runs the layer forward and backward and compares. Of a convolution or a fully connected layer the first
/// and the last sample are compared (and are the only ones with a gradient), of other layers all are.
/// `backward`: whether it is called in the network at all.
Residuals measure_residuals(std::string_view spec, LayerRun& run, bool backward);

/// The largest residual that a correct kernel may have: 1e-4 in float (Winograd's kernels have the largest;
/// direct ones stay below 1e-5), 1e-10 in double.
inline constexpr double kResidualLimit = sizeof(real) == 4 ? 1e-4 : 1e-10;

}  // namespace mbs
