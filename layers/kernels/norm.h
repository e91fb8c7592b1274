// The loops of normalisation over `pixels` x `channels` values, channels last: sums per channel, and the two
// element-wise maps. Vectors run over channels; with few channels, several pixels are taken side by side.
//
// A ReLU that follows the normalisation is done in the same sweeps. Its mask has one bit per element, in the
// order of the elements.
#pragma once

#include <cstdint>

#include "engine/real.h"

namespace mbs {

/// Pixels as the loops take them: `count` rows of as many pixels as make about 64 values and whole bytes of a
/// mask, then `rest` values of the pixels that are left. The loops know nothing of channels: a row has
/// `width` places, place i is channel i % channels, and every argument of one value per channel has one per
/// place. Each place is one chain of additions, whatever the width of vectors.
struct NormRows {
  int64_t count, width, rest;

  /// At least one pixel.
  NormRows(int64_t pixels, int64_t channels);
  /// The largest width for any number of pixels.
  static int64_t max_width(int64_t channels);
};

/// sum[i], squares[i]: the sums of x - shift[i] and of its square. The nearer shift is to the mean, the less
/// accuracy is lost to it.
void norm_moments(const NormRows&, const real* x, const real* shift, double* sum, double* squares);

/// y = (x - mean[i]) * scale[i] + shift[i], and of that max(y, 0) where `relu`: NaN stays NaN, and a `mask`
/// that is not null says where it is not <= 0.
void normalize(const NormRows&, const real* x, real* y, const real* mean, const real* scale,
               const real* shift, bool relu, uint8_t* mask);

/// sum_dy[i] = sum of g, sum_dy_x[i] = sum of g * (x - mean[i]), where g = dy, or 0 where a `mask` that is
/// not null has no bit.
void norm_gradient_sums(const NormRows&, const real* x, const real* dy, const uint8_t* mask, const real* mean,
                        double* sum_dy, double* sum_dy_x);

/// dx = g * by_dy[i] + (x - mean[i]) * by_x[i] + offset[i], or += where `add`; g as above.
void norm_data_gradient(const NormRows&, const real* x, const real* dy, const uint8_t* mask, real* dx,
                        bool add, const real* mean, const real* by_dy, const real* by_x, const real* offset);

}  // namespace mbs
