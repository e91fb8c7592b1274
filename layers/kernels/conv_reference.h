// Convolution of one sample by its definition, in double: what the error of a kernel is measured against.
#pragma once

#include "layers/kernels/conv.h"

namespace mbs {

/// y = the convolution, without a bias.
void reference_forward(const ConvShape&, const real* x, const real* w, double* y);
/// dx = the gradient of dot(y, dy) by x.
void reference_data_gradient(const ConvShape&, const real* dy, const real* w, double* dx);
/// dw += the gradient of dot(y, dy) by w.
void reference_weight_gradient(const ConvShape&, const real* x, const real* dy, double* dw);

}  // namespace mbs
