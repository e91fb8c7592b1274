// Loops over contiguous elements, at the speed of memory. Pointers need no alignment; n may be any number.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/real.h"

namespace mbs {

/// Bytes of a mask of one bit per element.
constexpr int64_t mask_bytes(int64_t elems) { return (elems + 7) / 8; }

/// The mask of sample `s` in a layer's aux, where every sample of n elements starts at a byte; null in null.
inline uint8_t* sample_mask(std::byte* aux, int64_t n, int s) {
  return aux == nullptr ? nullptr : reinterpret_cast<uint8_t*>(aux) + s * mask_bytes(n);
}
inline const uint8_t* sample_mask(const std::byte* aux, int64_t n, int s) {
  return sample_mask(const_cast<std::byte*>(aux), n, s);
}

/// y = max(x, 0); NaN stays NaN. Bit i of `mask` (bit i % 8 of byte i / 8) says that x[i] is not <= 0; the
/// bits after the last element are 0. `mask` may be null.
void relu_forward(const real* x, real* y, uint8_t* mask, int64_t n);
/// y = max(a + b, 0) and the mask, as relu_forward of a + b; y may be a or b.
void add_relu_forward(const real* a, const real* b, real* y, uint8_t* mask, int64_t n);
/// dx = mask ? dy : 0, or += where `add`.
void relu_backward(const real* dy, const uint8_t* mask, real* dx, bool add, int64_t n);

/// y = a + b; y may be a or b.
void add_arrays(const real* a, const real* b, real* y, int64_t n);
/// y = x, or y += x where `add`.
void copy_or_add(const real* x, real* y, bool add, int64_t n);

}  // namespace mbs
