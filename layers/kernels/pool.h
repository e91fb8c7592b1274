// Pooling, channels last; vectors run over channels.
#pragma once

#include <cstdint>

#include "engine/real.h"
#include "engine/shape.h"
#include "layers/shapes.h"

namespace mbs {

/// y = the largest element of each window; of equals the first (row by row), and NaN wins. `index`, where not
/// null, gets its tap, row * kernel.w + column, which must fit a byte. Padding never wins.
void max_pool_forward(const Shape& in, const Shape& out, const Window&, int samples, const real* x, real* y,
                      uint8_t* index);
/// dx = dy at the tap that won, summed over windows, and 0 elsewhere; or += where `add`.
void max_pool_backward(const Shape& in, const Shape& out, const Window&, int samples, const real* dy,
                       const uint8_t* index, real* dx, bool add);

/// What an average is divided by: the size of the kernel, padding counted as zeros, or only what of the
/// window lies inside the image.
enum class AvgOver : uint8_t { kernel, image };

/// y = sum of each window / what `over` says.
void avg_pool_forward(const Shape& in, const Shape& out, const Window&, AvgOver over, int samples,
                      const real* x, real* y);
/// dx = sum of dy / what `over` says, over the windows that an element is in; or += where `add`.
void avg_pool_backward(const Shape& in, const Shape& out, const Window&, AvgOver over, int samples,
                       const real* dy, real* dx, bool add);

}  // namespace mbs
