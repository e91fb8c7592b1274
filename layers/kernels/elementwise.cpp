#include "layers/kernels/elementwise.h"

#include <cstring>

#include "layers/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/kernels/elementwise.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "layers/kernels/channels-inl.h"
#include "layers/kernels/mask-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {

// Elements of the output that are asked for ahead of those that are written: a store to a line that is not in
// the level-one cache waits for it.
constexpr int64_t kAhead = 256 / sizeof(real);

// y = max(source, 0). Source: source(tag, i) is the vector of elements from i on.
template <bool masked, class Source>
HWY_INLINE void rectify_all(const Source& source, real* y, uint8_t* mask, int64_t n) {
  for_tiles(n, [=](auto d, auto tile, int64_t at) HWY_ATTR {
    TileBits bits;
    for_vectors(tile, [&](int k) HWY_ATTR {
      const int64_t i = at + k * kLanesOf<decltype(d)>;
      hn::StoreU(rectify(d, source(d, i), k, bits), d, y + i);
      hwy::Prefetch(y + i + kAhead);
    });
    if constexpr (masked) store_bits(d, tile, bits, mask, at);
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
    auto g = live_gradient<true>(d, dy, mask, i);
    if constexpr (add) g = hn::Add(g, hn::LoadU(d, dx + i));
    hn::StoreU(g, d, dx + i);
    hwy::Prefetch(dx + i + kAhead);
  });
}

void ReluBackward(const real* dy, const uint8_t* mask, real* dx, bool add, int64_t n) {
  if (add)
    relu_gradient<true>(dy, mask, dx, n);
  else
    relu_gradient<false>(dy, mask, dx, n);
}

void AddArrays(const real* a, const real* b, real* y, int64_t n) {
  for_channels(n, [=](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Add(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i);
    hwy::Prefetch(y + i + kAhead);
  });
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
