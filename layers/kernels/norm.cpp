#include "layers/kernels/norm.h"

#include <algorithm>

#include "layers/kernels/elementwise.h"
#include "layers/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/kernels/norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "layers/kernels/channels-inl.h"
#include "layers/kernels/mask-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {

template <class D>
using V = hn::Vec<D>;

// Calls body(tag, first channel, first pixel, pixels) for every vector of channels of every block of pixels.
// Sums over a block stay in real, blocks are collected in double. A block fills at most two thirds of a
// level-one cache of 48 KiB (of floats), since the statistics read it twice, and is short enough for its
// rounding error.
template <class Body>
HWY_INLINE void for_blocks(int64_t pixels, int64_t channels, const Body& body) {
  const int64_t block = std::clamp<int64_t>(8192 / channels, 8, 64);
  for (int64_t p = 0; p < pixels; p += block) {
    const int64_t n = std::min(block, pixels - p);
    for_channels(channels, [&](auto d, int64_t c) HWY_ATTR { body(d, c, p, n); });
  }
}

// Four chains of additions, of every fourth pixel each: one alone would wait for the latency of an addition.
// They are named, since GCC 12 may keep an array of vectors in memory.
template <class D>
struct Chains {
  V<D> a, b, c, d;
};

template <class D>
HWY_INLINE Chains<D> no_sums(D d) {
  return {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
}

template <class D>
HWY_INLINE V<D> total(const Chains<D>& sums) {
  return hn::Add(hn::Add(sums.a, sums.b), hn::Add(sums.c, sums.d));
}

// Where a pixel is: in elements of the data, and in bytes of a mask.
struct Place {
  int64_t elem, byte;
};

// Calls step(chain, place) for n pixels that lie `stride` apart.
template <class D, class Step>
HWY_INLINE void for_pixels(D, int64_t n, Place stride, const Step& step) {
  Place at = {0, 0};
  const auto next = [&](auto chain) HWY_ATTR {
    step(chain, at);
    at = {at.elem + stride.elem, at.byte + stride.byte};
  };
  for (; n >= 4; n -= 4) {
    next(&Chains<D>::a);
    next(&Chains<D>::b);
    next(&Chains<D>::c);
    next(&Chains<D>::d);
  }
  for (; n > 0; --n) next(&Chains<D>::a);
}

// Mean and squares about it of a block of n pixels, merged into those of the pixels before it (Chan, Golub,
// LeVeque 1983). `shift` is the block's mean up to rounding, `rest` the sum of x - shift, `squares` that of
// (x - shift)^2.
template <class D>
HWY_INLINE void merge_block(D d, int64_t before, int64_t n, V<D> shift, V<D> rest, V<D> squares, double* mean,
                            double* m2) {
  constexpr int64_t lanes = kLanesOf<D>;
  HWY_ALIGN real shifts[lanes], rests[lanes], sums[lanes];
  hn::Store(shift, d, shifts);
  hn::Store(rest, d, rests);
  hn::Store(squares, d, sums);
  const double one_over_n = 1 / static_cast<double>(n),
               share = static_cast<double>(n) / static_cast<double>(before + n);
  const double weight = static_cast<double>(before) * share;
  for (int64_t i = 0; i < lanes; ++i) {
    const double r = rests[i], offset = r * one_over_n, delta = shifts[i] + offset - mean[i];
    mean[i] += delta * share;
    m2[i] += sums[i] - r * offset + delta * delta * weight;
  }
}

void ChannelMoments(const real* x, int64_t pixels, int64_t channels, double* mean, double* m2) {
  std::fill_n(mean, channels, 0.0);
  std::fill_n(m2, channels, 0.0);
  const Place stride = {channels, 0};
  for_blocks(pixels, channels, [&](auto d, int64_t c, int64_t p, int64_t n) HWY_ATTR {
    using D = decltype(d);
    const real* block = x + p * channels + c;
    Chains<D> sums = no_sums(d), rests = no_sums(d), squares = no_sums(d);
    for_pixels(d, n, stride, [&](auto chain, Place at) HWY_ATTR {
      sums.*chain = hn::Add(sums.*chain, hn::LoadU(d, block + at.elem));
    });
    const V<D> shift = hn::Mul(total<D>(sums), hn::Set(d, static_cast<real>(1 / static_cast<double>(n))));
    for_pixels(d, n, stride, [&](auto chain, Place at) HWY_ATTR {
      const V<D> diff = hn::Sub(hn::LoadU(d, block + at.elem), shift);
      rests.*chain = hn::Add(rests.*chain, diff);
      squares.*chain = hn::MulAdd(diff, diff, squares.*chain);
    });
    merge_block(d, p, n, shift, total<D>(rests), total<D>(squares), mean + c, m2 + c);
  });
}

template <bool relu, bool masked>
HWY_INLINE void normalize_all(const real* x, real* y, int64_t pixels, int64_t channels, const real* mean,
                              const real* scale, const real* shift, uint8_t* mask) {
  const int64_t mask_row = mask_bytes(channels);
  for_blocks(pixels, channels, [=](auto d, int64_t c, int64_t p, int64_t n) HWY_ATTR {
    const auto m = hn::LoadU(d, mean + c), a = hn::LoadU(d, scale + c), b = hn::LoadU(d, shift + c);
    const int64_t end = (p + n) * channels;
    BitPlace<uint8_t> bits = bit_place(mask, p * mask_row, c);
    for (int64_t at = p * channels + c; at < end; at += channels, bits.byte += mask_row) {
      auto v = hn::MulAdd(hn::Sub(hn::LoadU(d, x + at), m), a, b);
      if constexpr (relu) v = rectify<masked>(d, v, bits);
      hn::StoreU(v, d, y + at);
    }
  });
}

void Normalize(const real* x, real* y, int64_t pixels, int64_t channels, const real* mean, const real* scale,
               const real* shift, bool relu, uint8_t* mask) {
  if (!relu)
    normalize_all<false, false>(x, y, pixels, channels, mean, scale, shift, mask);
  else if (mask == nullptr)
    normalize_all<true, false>(x, y, pixels, channels, mean, scale, shift, mask);
  else
    normalize_all<true, true>(x, y, pixels, channels, mean, scale, shift, mask);
}

template <class D>
HWY_INLINE void add_to_doubles(D d, V<D> v, double* sums) {
  HWY_ALIGN real values[kLanesOf<D>];
  hn::Store(v, d, values);
  for (int64_t i = 0; i < kLanesOf<D>; ++i) sums[i] += values[i];
}

template <bool masked>
HWY_INLINE void gradient_sums(const real* x, const real* dy, const uint8_t* mask, int64_t pixels,
                              int64_t channels, const real* mean, double* sum_dy, double* sum_dy_x) {
  std::fill_n(sum_dy, channels, 0.0);
  std::fill_n(sum_dy_x, channels, 0.0);
  const Place stride = {channels, mask_bytes(channels)};
  for_blocks(pixels, channels, [=](auto d, int64_t c, int64_t p, int64_t n) HWY_ATTR {
    using D = decltype(d);
    const V<D> m = hn::LoadU(d, mean + c);
    const real *x_from = x + p * channels + c, *dy_from = dy + p * channels + c;
    const BitPlace<const uint8_t> bits = bit_place(mask, p * stride.byte, c);
    Chains<D> sums = no_sums(d), products = no_sums(d);
    for_pixels(d, n, stride, [&](auto chain, Place at) HWY_ATTR {
      const V<D> g = live_gradient<masked>(d, dy_from + at.elem, {mask, bits.byte + at.byte, bits.shift});
      sums.*chain = hn::Add(sums.*chain, g);
      products.*chain = hn::MulAdd(g, hn::Sub(hn::LoadU(d, x_from + at.elem), m), products.*chain);
    });
    add_to_doubles(d, total<D>(sums), sum_dy + c);
    add_to_doubles(d, total<D>(products), sum_dy_x + c);
  });
}

void NormGradientSums(const real* x, const real* dy, const uint8_t* mask, int64_t pixels, int64_t channels,
                      const real* mean, double* sum_dy, double* sum_dy_x) {
  if (mask != nullptr)
    gradient_sums<true>(x, dy, mask, pixels, channels, mean, sum_dy, sum_dy_x);
  else
    gradient_sums<false>(x, dy, mask, pixels, channels, mean, sum_dy, sum_dy_x);
}

template <bool masked, bool add>
HWY_INLINE void data_gradient(const real* x, const real* dy, const uint8_t* mask, real* dx, int64_t pixels,
                              int64_t channels, const real* mean, const real* by_dy, const real* by_x,
                              const real* offset) {
  const int64_t mask_row = mask_bytes(channels);
  for_blocks(pixels, channels, [=](auto d, int64_t c, int64_t p, int64_t n) HWY_ATTR {
    const auto m = hn::LoadU(d, mean + c), a = hn::LoadU(d, by_dy + c), b = hn::LoadU(d, by_x + c);
    const auto o = hn::LoadU(d, offset + c);
    const int64_t end = (p + n) * channels;
    BitPlace<const uint8_t> bits = bit_place(mask, p * mask_row, c);
    for (int64_t at = p * channels + c; at < end; at += channels, bits.byte += mask_row) {
      auto g = hn::MulAdd(hn::Sub(hn::LoadU(d, x + at), m), b, o);
      g = hn::MulAdd(live_gradient<masked>(d, dy + at, bits), a, g);
      if constexpr (add) g = hn::Add(g, hn::LoadU(d, dx + at));
      hn::StoreU(g, d, dx + at);
    }
  });
}

void NormDataGradient(const real* x, const real* dy, const uint8_t* mask, real* dx, bool add, int64_t pixels,
                      int64_t channels, const real* mean, const real* by_dy, const real* by_x,
                      const real* offset) {
  const auto call = mask == nullptr ? add ? data_gradient<false, true> : data_gradient<false, false>
                    : add ? data_gradient<true, true>
                                    : data_gradient<true, false>;
  call(x, dy, mask, dx, pixels, channels, mean, by_dy, by_x, offset);
}

}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mbs {
HWY_EXPORT(ChannelMoments);
HWY_EXPORT(Normalize);
HWY_EXPORT(NormGradientSums);
HWY_EXPORT(NormDataGradient);

void channel_moments(const real* x, int64_t pixels, int64_t channels, double* mean, double* m2) {
  HWY_DYNAMIC_DISPATCH(ChannelMoments)(x, pixels, channels, mean, m2);
}

void normalize(const real* x, real* y, int64_t pixels, int64_t channels, const real* mean, const real* scale,
               const real* shift, bool relu, uint8_t* mask) {
  HWY_DYNAMIC_DISPATCH(Normalize)(x, y, pixels, channels, mean, scale, shift, relu, mask);
}

void norm_gradient_sums(const real* x, const real* dy, const uint8_t* mask, int64_t pixels, int64_t channels,
                        const real* mean, double* sum_dy, double* sum_dy_x) {
  HWY_DYNAMIC_DISPATCH(NormGradientSums)(x, dy, mask, pixels, channels, mean, sum_dy, sum_dy_x);
}

void norm_data_gradient(const real* x, const real* dy, const uint8_t* mask, real* dx, bool add,
                        int64_t pixels, int64_t channels, const real* mean, const real* by_dy,
                        const real* by_x, const real* offset) {
  HWY_DYNAMIC_DISPATCH(NormDataGradient)
  (x, dy, mask, dx, add, pixels, channels, mean, by_dy, by_x, offset);
}

}  // namespace mbs
#endif
