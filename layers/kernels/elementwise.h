// Loops over contiguous elements, at the speed of memory. Pointers need no alignment; n may be any number.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/real.h"

namespace mbs {

/// Bytes of a mask of one bit per element.
constexpr int64_t mask_bytes(int64_t elems) { return (elems + 7) / 8; }

/// y = max(x, 0); NaN stays NaN. Bit i of `mask` (bit i % 8 of byte i / 8) says that x[i] is not <= 0; the
/// bits after the last element are 0. `mask` may be null.
void relu_forward(const real* x, real* y, uint8_t* mask, int64_t n);
/// dx = mask ? dy : 0, or += where `add`.
void relu_backward(const real* dy, const uint8_t* mask, real* dx, bool add, int64_t n);

/// y = a + b; y may be a or b.
void add_arrays(const real* a, const real* b, real* y, int64_t n);
/// y = x, or y += x where `add`.
void copy_or_add(const real* x, real* y, bool add, int64_t n);

}  // namespace mbs
