// The loops of normalisation over `pixels` x `channels` values, channels last: statistics per channel, and
// the two element-wise maps. Vectors run over channels; sums go over blocks of pixels in an order that does
// not depend on the vector width, and are collected in double.
#pragma once

#include <cstdint>

#include "engine/real.h"

namespace mbs {

/// mean[c] and m2[c] = sum of (x - mean[c])^2, of each channel.
void channel_moments(const real* x, int64_t pixels, int64_t channels, double* mean, double* m2);

/// y = (x - mean[c]) * scale[c] + shift[c].
void normalize(const real* x, real* y, int64_t pixels, int64_t channels, const real* mean, const real* scale,
               const real* shift);

/// sum_dy[c] = sum of dy, sum_dy_x[c] = sum of dy * (x - mean[c]).
void norm_gradient_sums(const real* x, const real* dy, int64_t pixels, int64_t channels, const real* mean,
                        double* sum_dy, double* sum_dy_x);

/// dx = dy * by_dy[c] + (x - mean[c]) * by_x[c] + offset[c], or += where `add`.
void norm_data_gradient(const real* x, const real* dy, real* dx, bool add, int64_t pixels, int64_t channels,
                        const real* mean, const real* by_dy, const real* by_x, const real* offset);

}  // namespace mbs
