// Convolution and its two gradients as loops over the definition: slow, obvious, for tests only. Sums are in
// double, and every tap of every output is counted, those that fall on padding included.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/real.h"
#include "layers/kernels/conv.h"

namespace mbs::reference {

/// What a naive function gives: values, and the multiply-accumulates that it did.
struct Counted {
  std::vector<double> values;
  int64_t macs = 0;
};

/// y: samples x s.out. `bias` may be null.
Counted conv_forward(const ConvShape& s, int samples, const real* x, const real* w, const real* bias);
/// dx: samples x s.in. Every tap of every input pixel is counted, also where no output lies.
Counted conv_data_gradient(const ConvShape& s, int samples, const real* dy, const real* w);
/// dw: {kh, kw, c_in, c_out}, of these samples alone.
Counted conv_weight_gradient(const ConvShape& s, int samples, const real* x, const real* dy);

}  // namespace mbs::reference
