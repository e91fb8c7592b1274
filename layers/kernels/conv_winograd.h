// 3x3 convolution with stride 1 by Winograd's minimal filtering (winograd_simd.h): F(4x4, 3x3) does a quarter
// of the multiplications, F(2x2, 3x3) four ninths.
#pragma once

#include "layers/kernels/conv.h"

namespace mbs {

/// Whether a convolution can be done so: 3x3, stride 1, padding up to 2, channels in multiples of 16.
bool winograd_fits(const ConvShape&);

extern const ConvKernels kWinogradConv2, kWinogradConv4;  ///< F(2x2, 3x3) and F(4x4, 3x3)

}  // namespace mbs
