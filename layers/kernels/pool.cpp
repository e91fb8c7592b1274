#include "layers/kernels/pool.h"

#include <algorithm>
#include <array>

#include "layers/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/kernels/pool.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "layers/kernels/channels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {

// Calls body(output pixel, rows, columns) for every window; rows and columns are its taps inside the image.
template <class Body>
HWY_INLINE void for_windows(const Shape& in, const Shape& out, const Window& w, const Body& body) {
  for (int oh = 0; oh < out.h; ++oh) {
    const Taps rows = taps_inside(oh, w.stride.h, w.pad.h, w.kernel.h, in.h);
    for (int ow = 0; ow < out.w; ++ow)
      body(int64_t{oh} * out.w + ow, rows, taps_inside(ow, w.stride.w, w.pad.w, w.kernel.w, in.w));
  }
}

// The first channel of the pixel that a tap reads.
HWY_INLINE int64_t offset_of(const Shape& in, const Taps& rows, int kh, const Taps& columns, int kw) {
  return (int64_t{rows.first + kh} * in.w + columns.first + kw) * in.c;
}

void MaxPoolForward(const Shape& in, const Shape& out, const Window& w, const real* x, real* y,
                    uint8_t* index) {
  for_windows(in, out, w, [&](int64_t o, const Taps& rows, const Taps& columns) HWY_ATTR {
    for_channels(in.c, [&](auto d, int64_t c) HWY_ATTR {
      auto best = hn::LoadU(d, x + c + offset_of(in, rows, rows.begin, columns, columns.begin));
      auto tap = hn::Set(d, static_cast<real>(rows.begin * w.kernel.w + columns.begin));
      for (int kh = rows.begin; kh < rows.end; ++kh)
        for (int kw = columns.begin; kw < columns.end; ++kw) {
          const auto v = hn::LoadU(d, x + c + offset_of(in, rows, kh, columns, kw));
          const auto wins = hn::Or(hn::Gt(v, best), hn::IsNaN(v));
          best = hn::IfThenElse(wins, v, best);
          tap = hn::IfThenElse(wins, hn::Set(d, static_cast<real>(kh * w.kernel.w + kw)), tap);
        }
      hn::StoreU(best, d, y + o * out.c + c);
      if (index == nullptr) return;
      constexpr int64_t lanes = kLanesOf<decltype(d)>;
      HWY_ALIGN real taps[lanes];
      hn::Store(tap, d, taps);
      for (int64_t i = 0; i < lanes; ++i) index[o * out.c + c + i] = static_cast<uint8_t>(taps[i]);
    });
  });
}

HWY_INLINE real avg_weight(const Window& w, AvgOver over, const Taps& rows, const Taps& columns) {
  const int inside = (rows.end - rows.begin) * (columns.end - columns.begin);
  return real(1) / static_cast<real>(over == AvgOver::kernel ? w.kernel.h * w.kernel.w : inside);
}

void AvgPoolForward(const Shape& in, const Shape& out, const Window& w, AvgOver over, const real* x,
                    real* y) {
  for_windows(in, out, w, [&](int64_t o, const Taps& rows, const Taps& columns) HWY_ATTR {
    const real weight = avg_weight(w, over, rows, columns);
    for_channels(in.c, [&](auto d, int64_t c) HWY_ATTR {
      // Sums of rows, then the sum of those: a window may be a whole image.
      auto sum = hn::Zero(d);
      for (int kh = rows.begin; kh < rows.end; ++kh) {
        auto row = hn::Zero(d);
        for (int kw = columns.begin; kw < columns.end; ++kw)
          row = hn::Add(row, hn::LoadU(d, x + c + offset_of(in, rows, kh, columns, kw)));
        sum = hn::Add(sum, row);
      }
      hn::StoreU(hn::Mul(sum, hn::Set(d, weight)), d, y + o * out.c + c);
    });
  });
}

template <bool add>
HWY_INLINE void avg_gradient(const Shape& in, const Shape& out, const Window& w, AvgOver over, const real* dy,
                             real* dx) {
  for_windows(in, out, w, [&](int64_t o, const Taps& rows, const Taps& columns) HWY_ATTR {
    const real weight = avg_weight(w, over, rows, columns);
    for_channels(in.c, [&](auto d, int64_t c) HWY_ATTR {
      const auto g = hn::Mul(hn::LoadU(d, dy + o * out.c + c), hn::Set(d, weight));
      for (int kh = rows.begin; kh < rows.end; ++kh)
        for (int kw = columns.begin; kw < columns.end; ++kw) {
          real* at = dx + c + offset_of(in, rows, kh, columns, kw);
          hn::StoreU(add ? hn::Add(hn::LoadU(d, at), g) : g, d, at);
        }
    });
  });
}

void AvgPoolBackward(const Shape& in, const Shape& out, const Window& w, AvgOver over, const real* dy,
                     real* dx, bool add) {
  const auto call = add ? avg_gradient<true> : avg_gradient<false>;
  call(in, out, w, over, dy, dx);
}

}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mbs {
namespace {
HWY_EXPORT(MaxPoolForward);
HWY_EXPORT(AvgPoolForward);
HWY_EXPORT(AvgPoolBackward);

// Every output adds to one place of its own choice, so there is nothing to do in vectors.
void max_pool_sample_backward(const Shape& in, const Shape& out, const Window& w, const real* dy,
                              const uint8_t* index, real* dx) {
  std::array<int64_t, 256> offset{};  // of a tap from the first channel of its window's first tap
  for (int tap = 0; tap < w.kernel.h * w.kernel.w; ++tap)
    offset[static_cast<size_t>(tap)] = (int64_t{tap / w.kernel.w} * in.w + tap % w.kernel.w) * in.c;
  for (int oh = 0; oh < out.h; ++oh)
    for (int ow = 0; ow < out.w; ++ow) {
      const int64_t corner = (int64_t{oh * w.stride.h - w.pad.h} * in.w + ow * w.stride.w - w.pad.w) * in.c;
      for (int64_t c = 0; c < in.c; ++c) dx[corner + offset[*index++] + c] += *dy++;
    }
}

}  // namespace

void max_pool_forward(const Shape& in, const Shape& out, const Window& w, int samples, const real* x, real* y,
                      uint8_t* index) {
  for (int s = 0; s < samples; ++s) HWY_DYNAMIC_DISPATCH(MaxPoolForward)
  (in, out, w, x + s * in.elems(), y + s * out.elems(), index == nullptr ? nullptr : index + s * out.elems());
}

void max_pool_backward(const Shape& in, const Shape& out, const Window& w, int samples, const real* dy,
                       const uint8_t* index, real* dx, bool add) {
  if (!add) std::fill_n(dx, samples * in.elems(), real(0));
  for (int s = 0; s < samples; ++s)
    max_pool_sample_backward(in, out, w, dy + s * out.elems(), index + s * out.elems(), dx + s * in.elems());
}

void avg_pool_forward(const Shape& in, const Shape& out, const Window& w, AvgOver over, int samples,
                      const real* x, real* y) {
  for (int s = 0; s < samples; ++s)
    HWY_DYNAMIC_DISPATCH(AvgPoolForward)(in, out, w, over, x + s * in.elems(), y + s * out.elems());
}

void avg_pool_backward(const Shape& in, const Shape& out, const Window& w, AvgOver over, int samples,
                       const real* dy, real* dx, bool add) {
  // Where every element is in one window, the first term that would be added to 0 is the only one.
  const bool once = w.pad.h == 0 && w.pad.w == 0 && w.stride.h == w.kernel.h && w.stride.w == w.kernel.w &&
                    out.h * w.stride.h == in.h && out.w * w.stride.w == in.w;
  if (!add && !once) std::fill_n(dx, samples * in.elems(), real(0));
  for (int s = 0; s < samples; ++s) HWY_DYNAMIC_DISPATCH(AvgPoolBackward)
  (in, out, w, over, dy + s * out.elems(), dx + s * in.elems(), add || !once);
}

}  // namespace mbs
#endif
