// The third direction of direct convolution.
#pragma once

#include "layers/kernels/conv.h"

namespace mbs {

extern const ConvKernel kDirectWeightGradient;

}  // namespace mbs
