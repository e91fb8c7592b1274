#include "layers/kernels/norm.h"

#include <algorithm>

#include "layers/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/kernels/norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "layers/kernels/channels-inl.h"

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

// Calls step(chain, offset) for n pixels that lie `stride` elements apart.
template <class D, class Step>
HWY_INLINE void for_pixels(D, int64_t n, int64_t stride, const Step& step) {
  int64_t at = 0;
  for (; n >= 4; n -= 4, at += 4 * stride) {
    step(&Chains<D>::a, at);
    step(&Chains<D>::b, at + stride);
    step(&Chains<D>::c, at + 2 * stride);
    step(&Chains<D>::d, at + 3 * stride);
  }
  for (; n > 0; --n, at += stride) step(&Chains<D>::a, at);
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
  for_blocks(pixels, channels, [&](auto d, int64_t c, int64_t p, int64_t n) HWY_ATTR {
    using D = decltype(d);
    const real* block = x + p * channels + c;
    Chains<D> sums = no_sums(d), rests = no_sums(d), squares = no_sums(d);
    for_pixels(d, n, channels, [&](auto chain, int64_t at) HWY_ATTR {
      sums.*chain = hn::Add(sums.*chain, hn::LoadU(d, block + at));
    });
    const V<D> shift = hn::Mul(total<D>(sums), hn::Set(d, static_cast<real>(1 / static_cast<double>(n))));
    for_pixels(d, n, channels, [&](auto chain, int64_t at) HWY_ATTR {
      const V<D> diff = hn::Sub(hn::LoadU(d, block + at), shift);
      rests.*chain = hn::Add(rests.*chain, diff);
      squares.*chain = hn::MulAdd(diff, diff, squares.*chain);
    });
    merge_block(d, p, n, shift, total<D>(rests), total<D>(squares), mean + c, m2 + c);
  });
}

void Normalize(const real* x, real* y, int64_t pixels, int64_t channels, const real* mean, const real* scale,
               const real* shift) {
  for_blocks(pixels, channels, [&](auto d, int64_t c, int64_t p, int64_t n) HWY_ATTR {
    const auto m = hn::LoadU(d, mean + c), a = hn::LoadU(d, scale + c), b = hn::LoadU(d, shift + c);
    const int64_t first = p * channels + c;
    for_pixels(d, n, channels, [&](auto, int64_t at) HWY_ATTR {
      hn::StoreU(hn::MulAdd(hn::Sub(hn::LoadU(d, x + first + at), m), a, b), d, y + first + at);
    });
  });
}

template <class D>
HWY_INLINE void add_to_doubles(D d, V<D> v, double* sums) {
  HWY_ALIGN real values[kLanesOf<D>];
  hn::Store(v, d, values);
  for (int64_t i = 0; i < kLanesOf<D>; ++i) sums[i] += values[i];
}

void NormGradientSums(const real* x, const real* dy, int64_t pixels, int64_t channels, const real* mean,
                      double* sum_dy, double* sum_dy_x) {
  std::fill_n(sum_dy, channels, 0.0);
  std::fill_n(sum_dy_x, channels, 0.0);
  for_blocks(pixels, channels, [&](auto d, int64_t c, int64_t p, int64_t n) HWY_ATTR {
    using D = decltype(d);
    const V<D> m = hn::LoadU(d, mean + c);
    const int64_t first = p * channels + c;
    Chains<D> sums = no_sums(d), products = no_sums(d);
    for_pixels(d, n, channels, [&](auto chain, int64_t at) HWY_ATTR {
      const V<D> g = hn::LoadU(d, dy + first + at);
      sums.*chain = hn::Add(sums.*chain, g);
      products.*chain = hn::MulAdd(g, hn::Sub(hn::LoadU(d, x + first + at), m), products.*chain);
    });
    add_to_doubles(d, total<D>(sums), sum_dy + c);
    add_to_doubles(d, total<D>(products), sum_dy_x + c);
  });
}

template <bool add>
HWY_INLINE void data_gradient(const real* x, const real* dy, real* dx, int64_t pixels, int64_t channels,
                              const real* mean, const real* by_dy, const real* by_x, const real* offset) {
  for_blocks(pixels, channels, [&](auto d, int64_t c, int64_t p, int64_t n) HWY_ATTR {
    const auto m = hn::LoadU(d, mean + c), a = hn::LoadU(d, by_dy + c), b = hn::LoadU(d, by_x + c);
    const auto o = hn::LoadU(d, offset + c);
    const int64_t first = p * channels + c;
    for_pixels(d, n, channels, [&](auto, int64_t at) HWY_ATTR {
      auto g = hn::MulAdd(hn::Sub(hn::LoadU(d, x + first + at), m), b, o);
      g = hn::MulAdd(hn::LoadU(d, dy + first + at), a, g);
      if constexpr (add) g = hn::Add(g, hn::LoadU(d, dx + first + at));
      hn::StoreU(g, d, dx + first + at);
    });
  });
}

void NormDataGradient(const real* x, const real* dy, real* dx, bool add, int64_t pixels, int64_t channels,
                      const real* mean, const real* by_dy, const real* by_x, const real* offset) {
  if (add)
    data_gradient<true>(x, dy, dx, pixels, channels, mean, by_dy, by_x, offset);
  else
    data_gradient<false>(x, dy, dx, pixels, channels, mean, by_dy, by_x, offset);
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
               const real* shift) {
  HWY_DYNAMIC_DISPATCH(Normalize)(x, y, pixels, channels, mean, scale, shift);
}

void norm_gradient_sums(const real* x, const real* dy, int64_t pixels, int64_t channels, const real* mean,
                        double* sum_dy, double* sum_dy_x) {
  HWY_DYNAMIC_DISPATCH(NormGradientSums)(x, dy, pixels, channels, mean, sum_dy, sum_dy_x);
}

void norm_data_gradient(const real* x, const real* dy, real* dx, bool add, int64_t pixels, int64_t channels,
                        const real* mean, const real* by_dy, const real* by_x, const real* offset) {
  HWY_DYNAMIC_DISPATCH(NormDataGradient)(x, dy, dx, add, pixels, channels, mean, by_dy, by_x, offset);
}

}  // namespace mbs
#endif
