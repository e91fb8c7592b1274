// The third direction of direct convolution.
#pragma once

#include "layers/kernels/conv.h"

namespace mbs {

extern const ConvWeightGradient kDirectWeightGradient;

}  // namespace mbs
