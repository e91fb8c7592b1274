#include "layers/kernels/elementwise.h"

#include <cstring>

#include "layers/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/kernels/elementwise.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<real>;
using V = hn::Vec<D>;
constexpr D d;
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(d));
// Bits of masks are moved in whole bytes: those of one vector, or of several short ones.
constexpr int64_t kMaskElems = kLanes < 8 ? 8 : kLanes;
constexpr size_t kMaskBytes = static_cast<size_t>(kMaskElems / 8);

// Highway may touch 8 bytes for the bits of a vector, more than a mask may have left.
constexpr size_t kBitBuffer = 8;

// max(x, 0) and bit `shift` onwards of `bits`.
HWY_INLINE V relu_vector(const real* x, int64_t shift, uint64_t& bits) {
  const V v = hn::LoadU(d, x);
  const auto live = hn::Not(hn::Le(v, hn::Zero(d)));
  uint8_t buffer[kBitBuffer] = {};
  hn::StoreMaskBits(d, live, buffer);
  uint64_t lanes = 0;
  std::memcpy(&lanes, buffer, kMaskBytes);
  bits |= lanes << shift;
  return hn::IfThenElseZero(live, v);
}

void ReluForward(const real* x, real* y, uint8_t* mask, int64_t n) {
  int64_t i = 0;
  for (; i + kMaskElems <= n; i += kMaskElems) {
    uint64_t bits = 0;
    for (int64_t k = 0; k < kMaskElems; k += kLanes)
      hn::StoreU(relu_vector(x + i + k, k, bits), d, y + i + k);
    if (mask != nullptr) std::memcpy(mask + i / 8, &bits, kMaskBytes);
  }
  uint64_t bits = 0;
  const int64_t left = n - i;
  for (int64_t k = 0; k < left; ++k) {
    const bool live = !(x[i + k] <= 0);
    bits |= uint64_t{live} << k;
    y[i + k] = live ? x[i + k] : 0;
  }
  if (mask != nullptr) std::memcpy(mask + i / 8, &bits, static_cast<size_t>(mask_bytes(left)));
}

template <bool add>
HWY_INLINE void relu_gradient(const real* dy, const uint8_t* mask, real* dx, int64_t n) {
  int64_t i = 0;
  for (; i + kMaskElems <= n; i += kMaskElems) {
    uint64_t bits = 0;
    std::memcpy(&bits, mask + i / 8, kMaskBytes);
    for (int64_t k = 0; k < kMaskElems; k += kLanes) {
      uint8_t buffer[kBitBuffer];
      const uint64_t lanes = bits >> k;
      std::memcpy(buffer, &lanes, kBitBuffer);
      V g = hn::IfThenElseZero(hn::LoadMaskBits(d, buffer), hn::LoadU(d, dy + i + k));
      if constexpr (add) g = hn::Add(g, hn::LoadU(d, dx + i + k));
      hn::StoreU(g, d, dx + i + k);
    }
  }
  for (; i < n; ++i) {
    const real g = (mask[i / 8] >> (i % 8)) & 1 ? dy[i] : 0;
    dx[i] = add ? dx[i] + g : g;
  }
}

void ReluBackward(const real* dy, const uint8_t* mask, real* dx, bool add, int64_t n) {
  if (add)
    relu_gradient<true>(dy, mask, dx, n);
  else
    relu_gradient<false>(dy, mask, dx, n);
}

void AddArrays(const real* a, const real* b, real* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    hn::StoreU(hn::Add(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i);
  for (; i < n; ++i) y[i] = a[i] + b[i];
}

}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mbs {
HWY_EXPORT(ReluForward);
HWY_EXPORT(ReluBackward);
HWY_EXPORT(AddArrays);

void relu_forward(const real* x, real* y, uint8_t* mask, int64_t n) {
  HWY_DYNAMIC_DISPATCH(ReluForward)(x, y, mask, n);
}

void relu_backward(const real* dy, const uint8_t* mask, real* dx, bool add, int64_t n) {
  HWY_DYNAMIC_DISPATCH(ReluBackward)(dy, mask, dx, add, n);
}

void add_arrays(const real* a, const real* b, real* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(AddArrays)(a, b, y, n);
}

void copy_or_add(const real* x, real* y, bool add, int64_t n) {
  if (add)
    add_arrays(y, x, y, n);
  else
    std::memcpy(y, x, static_cast<size_t>(n) * sizeof(real));
}

}  // namespace mbs
#endif
