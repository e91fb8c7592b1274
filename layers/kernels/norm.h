// The loops of normalisation over `pixels` x `channels` values, channels last: statistics per channel, and
// the two element-wise maps. Vectors run over channels; sums go over blocks of pixels in an order that does
// not depend on the vector width, and are collected in double.
//
// A ReLU that follows the normalisation is done in the same sweeps. Its mask has one bit per element, and the
// bits of every pixel start at a byte: mask_bytes(channels) of layers/kernels/elementwise.h per pixel.
#pragma once

#include <cstdint>

#include "engine/real.h"

namespace mbs {

/// mean[c] and m2[c] = sum of (x - mean[c])^2, of each channel.
void channel_moments(const real* x, int64_t pixels, int64_t channels, double* mean, double* m2);

/// y = (x - mean[c]) * scale[c] + shift[c], and of that max(y, 0) where `relu`: NaN stays NaN, and a `mask`
/// that is not null says where it is not <= 0.
void normalize(const real* x, real* y, int64_t pixels, int64_t channels, const real* mean, const real* scale,
               const real* shift, bool relu, uint8_t* mask);

/// sum_dy[c] = sum of g, sum_dy_x[c] = sum of g * (x - mean[c]), where g = dy, or 0 where a `mask` that is
/// not null has no bit.
void norm_gradient_sums(const real* x, const real* dy, const uint8_t* mask, int64_t pixels, int64_t channels,
                        const real* mean, double* sum_dy, double* sum_dy_x);

/// dx = g * by_dy[c] + (x - mean[c]) * by_x[c] + offset[c], or += where `add`; g as above.
void norm_data_gradient(const real* x, const real* dy, const uint8_t* mask, real* dx, bool add,
                        int64_t pixels, int64_t channels, const real* mean, const real* by_dy,
                        const real* by_x, const real* offset);

}  // namespace mbs
