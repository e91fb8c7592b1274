#include "layers/kernels/elementwise.h"

#include <cstring>

#include "layers/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/kernels/elementwise.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "layers/kernels/channels-inl.h"
#include "layers/kernels/mask-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {

// y = max(source, 0). Source: source(tag, i) is the vector of elements from i on. The bits of four vectors go
// out in one store: a store for each cost as much as the data.
template <bool masked, class Source>
HWY_INLINE void rectify_all(const Source& source, real* y, uint8_t* mask, int64_t n) {
  constexpr hn::ScalableTag<real> d;
  constexpr int64_t kVectors = 4, kLanes = kLanesOf<decltype(d)>;
  int64_t i = 0;
  if constexpr (masked && kVectors * kLanes % 8 == 0) {
    for (; i + kVectors * kLanes <= n; i += kVectors * kLanes) {
      uint64_t bits = 0;
      for (int64_t k = 0; k < kVectors * kLanes; k += kLanes) {
        const auto v = source(d, i + k);
        const auto live = is_live(d, v);
        bits |= bits_of(d, live) << k;
        hn::StoreU(hn::IfThenElseZero(live, v), d, y + i + k);
      }
      std::memcpy(mask + i / 8, &bits, kVectors * kLanes / 8);
    }
  }
  for_channels(d, i, n, [=](auto part, int64_t at) HWY_ATTR {
    hn::StoreU(rectify<masked>(part, source(part, at), bit_place(mask, 0, at)), part, y + at);
  });
}

template <class Source>
HWY_INLINE void rectify_all(const Source& source, real* y, uint8_t* mask, int64_t n) {
  if (mask != nullptr)
    rectify_all<true>(source, y, mask, n);
  else
    rectify_all<false>(source, y, mask, n);
}

void ReluForward(const real* x, real* y, uint8_t* mask, int64_t n) {
  rectify_all([=](auto d, int64_t i) HWY_ATTR { return hn::LoadU(d, x + i); }, y, mask, n);
}

void AddReluForward(const real* a, const real* b, real* y, uint8_t* mask, int64_t n) {
  rectify_all([=](auto d, int64_t i) HWY_ATTR { return hn::Add(hn::LoadU(d, a + i), hn::LoadU(d, b + i)); },
              y, mask, n);
}

template <bool add>
HWY_INLINE void relu_gradient(const real* dy, const uint8_t* mask, real* dx, int64_t n) {
  for_channels(n, [=](auto d, int64_t i) HWY_ATTR {
    auto g = live_gradient<true>(d, dy + i, bit_place(mask, 0, i));
    if constexpr (add) g = hn::Add(g, hn::LoadU(d, dx + i));
    hn::StoreU(g, d, dx + i);
  });
}

void ReluBackward(const real* dy, const uint8_t* mask, real* dx, bool add, int64_t n) {
  if (add)
    relu_gradient<true>(dy, mask, dx, n);
  else
    relu_gradient<false>(dy, mask, dx, n);
}

void AddArrays(const real* a, const real* b, real* y, int64_t n) {
  for_channels(n, [=](auto d, int64_t i)
                      HWY_ATTR { hn::StoreU(hn::Add(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i); });
}

}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mbs {
HWY_EXPORT(ReluForward);
HWY_EXPORT(AddReluForward);
HWY_EXPORT(ReluBackward);
HWY_EXPORT(AddArrays);

void relu_forward(const real* x, real* y, uint8_t* mask, int64_t n) {
  HWY_DYNAMIC_DISPATCH(ReluForward)(x, y, mask, n);
}

void add_relu_forward(const real* a, const real* b, real* y, uint8_t* mask, int64_t n) {
  HWY_DYNAMIC_DISPATCH(AddReluForward)(a, b, y, mask, n);
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
