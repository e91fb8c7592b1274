#include "layers/kernels/norm.h"

#include <algorithm>
#include <numeric>

#include "layers/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/kernels/norm.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "layers/kernels/channels-inl.h"
#include "layers/kernels/mask-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {

template <class D>
using V = hn::Vec<D>;

// Tiles below each other: `rows` of them, `stride` elements apart, the first at element `at`.
struct Column {
  int64_t at, rows, stride;
};

// Sums of so many rows stay in real and are collected in double: few enough for the rounding error, enough
// that collecting costs little.
constexpr int64_t kSumRows = 64;

// Rows of a block of the element-wise loops: blocks only keep the columns of wide rows near each other.
HWY_INLINE int64_t map_rows(const NormRows& rows) {
  constexpr int64_t kValues = 1 << 16;
  return std::max<int64_t>(kSumRows, kValues / rows.width);
}

// Calls body(column, tag, tile, first place) for all tiles of `count` rows from row `first` on. Loops over a
// column work with copies of what the body captures: for all that the compiler knows, their stores may change
// it.
template <class Body>
HWY_INLINE void for_columns(const NormRows& rows, int64_t first, int64_t count, int64_t width,
                            const Body& body) {
  for_tiles(width, [&](auto d, auto tile, int64_t i) HWY_ATTR {
    body(Column{first * rows.width + i, count, rows.width}, d, tile, i);
  });
}

// Sums: block after block.
template <class Body>
HWY_INLINE void for_sums(const NormRows& rows, const Body& body) {
  for (int64_t r = 0; r < rows.count; r += kSumRows)
    for_columns(rows, r, std::min(kSumRows, rows.count - r), rows.width, body);
  if (rows.rest > 0) for_columns(rows, rows.count, 1, rows.rest, body);
}

// Element-wise maps: from the last block to the first, since what the sums before have read last is still in
// cache where a sample is larger than that. A store to a line that is not in the level-one cache waits for
// it, so bodies ask for the next row of the output while they write this one.
template <class Body>
HWY_INLINE void for_map(const NormRows& rows, const Body& body) {
  if (rows.rest > 0) for_columns(rows, rows.count, 1, rows.rest, body);
  const int64_t height = map_rows(rows);
  for (int64_t r = (rows.count - 1) / height * height; r >= 0; r -= height)
    for_columns(rows, r, std::min(height, rows.count - r), rows.width, body);
}

// The vectors of a tile.
template <class D, int n>
struct Vectors {
  V<D> v[n];
  V<D>& operator[](int k) { return v[k]; }
  const V<D>& operator[](int k) const { return v[k]; }
};

template <class D, int... k>
HWY_INLINE Vectors<D, sizeof...(k)> load(D d, std::integer_sequence<int, k...>, const real* from) {
  return {{hn::LoadU(d, from + k * kLanesOf<D>)...}};
}

template <class D, int... k>
HWY_INLINE Vectors<D, sizeof...(k)> zeros(D d, std::integer_sequence<int, k...>) {
  return {{(static_cast<void>(k), hn::Zero(d))...}};
}

template <class D>
HWY_INLINE void add_to_doubles(D d, V<D> v, double* sums) {
  HWY_ALIGN real values[kLanesOf<D>];
  hn::Store(v, d, values);
  for (int64_t i = 0; i < kLanesOf<D>; ++i) sums[i] += values[i];
}

void NormMoments(const NormRows& rows, const real* x, const real* shift, double* sum, double* squares) {
  std::fill_n(sum, rows.width, 0.0);
  std::fill_n(squares, rows.width, 0.0);
  for_sums(rows, [&](Column column, auto d, auto tile, int64_t i) HWY_ATTR {
    constexpr int64_t lanes = kLanesOf<decltype(d)>;
    const auto s = load(d, tile, shift + i);
    auto sums = zeros(d, tile), products = sums;
    const real* from = x + column.at;
    for (int64_t r = 0; r < column.rows; ++r, from += column.stride) {
      for_vectors(tile, [&](int k) HWY_ATTR {
        const auto diff = hn::Sub(hn::LoadU(d, from + k * lanes), s[k]);
        sums[k] = hn::Add(sums[k], diff);
        products[k] = hn::MulAdd(diff, diff, products[k]);
      });
    }
    for_vectors(tile, [&](int k) HWY_ATTR {
      add_to_doubles(d, sums[k], sum + i + k * lanes);
      add_to_doubles(d, products[k], squares + i + k * lanes);
    });
  });
}

template <bool relu, bool masked>
HWY_INLINE void normalize_all(const NormRows& rows, const real* x, real* y, const real* mean,
                              const real* scale, const real* shift, uint8_t* mask) {
  for_map(rows, [&](Column column, auto d, auto tile, int64_t i) HWY_ATTR {
    constexpr int64_t lanes = kLanesOf<decltype(d)>;
    const auto m = load(d, tile, mean + i), a = load(d, tile, scale + i), b = load(d, tile, shift + i);
    const real* from = x;
    real* to = y;
    uint8_t* bits_to = mask;
    for (int64_t r = 0, at = column.at; r < column.rows; ++r, at += column.stride) {
      TileBits bits;
      for_vectors(tile, [&](int k) HWY_ATTR {
        auto v = hn::MulAdd(hn::Sub(hn::LoadU(d, from + at + k * lanes), m[k]), a[k], b[k]);
        if constexpr (relu) v = rectify(d, v, k, bits);
        hn::StoreU(v, d, to + at + k * lanes);
        hwy::Prefetch(to + at + column.stride + k * lanes);
      });
      if constexpr (masked) store_bits(d, tile, bits, bits_to, at);
    }
  });
}

void Normalize(const NormRows& rows, const real* x, real* y, const real* mean, const real* scale,
               const real* shift, bool relu, uint8_t* mask) {
  const auto call = !relu             ? normalize_all<false, false>
                    : mask == nullptr ? normalize_all<true, false>
                                      : normalize_all<true, true>;
  call(rows, x, y, mean, scale, shift, mask);
}

template <bool masked>
HWY_INLINE void gradient_sums(const NormRows& rows, const real* x, const real* dy, const uint8_t* mask,
                              const real* mean, double* sum_dy, double* sum_dy_x) {
  std::fill_n(sum_dy, rows.width, 0.0);
  std::fill_n(sum_dy_x, rows.width, 0.0);
  for_sums(rows, [&](Column column, auto d, auto tile, int64_t i) HWY_ATTR {
    constexpr int64_t lanes = kLanesOf<decltype(d)>;
    const auto m = load(d, tile, mean + i);
    auto sums = zeros(d, tile), products = sums;
    const real *x_from = x, *dy_from = dy;
    const uint8_t* bits = mask;
    for (int64_t r = 0, at = column.at; r < column.rows; ++r, at += column.stride) {
      for_vectors(tile, [&](int k) HWY_ATTR {
        const auto g = live_gradient<masked>(d, dy_from, bits, at + k * lanes);
        sums[k] = hn::Add(sums[k], g);
        products[k] = hn::MulAdd(g, hn::Sub(hn::LoadU(d, x_from + at + k * lanes), m[k]), products[k]);
      });
    }
    for_vectors(tile, [&](int k) HWY_ATTR {
      add_to_doubles(d, sums[k], sum_dy + i + k * lanes);
      add_to_doubles(d, products[k], sum_dy_x + i + k * lanes);
    });
  });
}

void NormGradientSums(const NormRows& rows, const real* x, const real* dy, const uint8_t* mask,
                      const real* mean, double* sum_dy, double* sum_dy_x) {
  const auto call = mask != nullptr ? gradient_sums<true> : gradient_sums<false>;
  call(rows, x, dy, mask, mean, sum_dy, sum_dy_x);
}

template <bool masked, bool add>
HWY_INLINE void data_gradient(const NormRows& rows, const real* x, const real* dy, const uint8_t* mask,
                              real* dx, const real* mean, const real* by_dy, const real* by_x,
                              const real* offset) {
  for_map(rows, [&](Column column, auto d, auto tile, int64_t i) HWY_ATTR {
    constexpr int64_t lanes = kLanesOf<decltype(d)>;
    const auto m = load(d, tile, mean + i), o = load(d, tile, offset + i);
    const auto a = load(d, tile, by_dy + i), b = load(d, tile, by_x + i);
    const real *x_from = x, *dy_from = dy;
    const uint8_t* bits = mask;
    real* to = dx;
    for (int64_t r = 0, at = column.at; r < column.rows; ++r, at += column.stride) {
      for_vectors(tile, [&](int k) HWY_ATTR {
        const int64_t from = at + k * lanes;
        auto g = hn::MulAdd(hn::Sub(hn::LoadU(d, x_from + from), m[k]), b[k], o[k]);
        g = hn::MulAdd(live_gradient<masked>(d, dy_from, bits, from), a[k], g);
        if constexpr (add) g = hn::Add(g, hn::LoadU(d, to + from));
        hn::StoreU(g, d, to + from);
        hwy::Prefetch(to + from + column.stride);
      });
    }
  });
}

void NormDataGradient(const NormRows& rows, const real* x, const real* dy, const uint8_t* mask, real* dx,
                      bool add, const real* mean, const real* by_dy, const real* by_x, const real* offset) {
  const auto call = mask == nullptr ? add ? data_gradient<false, true> : data_gradient<false, false>
                    : add ? data_gradient<true, true>
                                    : data_gradient<true, false>;
  call(rows, x, dy, mask, dx, mean, by_dy, by_x, offset);
}

}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mbs {
namespace {

constexpr int64_t kRowValues = 64, kBitsOfByte = 8;

int64_t pixels_of_row(int64_t channels) {
  if (channels >= kRowValues && channels % kBitsOfByte == 0) return 1;
  const int64_t whole = kBitsOfByte / std::gcd(channels, kBitsOfByte);  // pixels whose bits fill bytes
  return std::max(whole, kRowValues / channels / whole * whole);
}

}  // namespace

HWY_EXPORT(NormMoments);
HWY_EXPORT(Normalize);
HWY_EXPORT(NormGradientSums);
HWY_EXPORT(NormDataGradient);

NormRows::NormRows(int64_t pixels, int64_t channels) {
  const int64_t side_by_side = std::min(pixels, pixels_of_row(channels));
  count = pixels / side_by_side;
  width = side_by_side * channels;
  rest = pixels * channels - count * width;
}

int64_t NormRows::max_width(int64_t channels) { return pixels_of_row(channels) * channels; }

void norm_moments(const NormRows& rows, const real* x, const real* shift, double* sum, double* squares) {
  HWY_DYNAMIC_DISPATCH(NormMoments)(rows, x, shift, sum, squares);
}

void normalize(const NormRows& rows, const real* x, real* y, const real* mean, const real* scale,
               const real* shift, bool relu, uint8_t* mask) {
  HWY_DYNAMIC_DISPATCH(Normalize)(rows, x, y, mean, scale, shift, relu, mask);
}

void norm_gradient_sums(const NormRows& rows, const real* x, const real* dy, const uint8_t* mask,
                        const real* mean, double* sum_dy, double* sum_dy_x) {
  HWY_DYNAMIC_DISPATCH(NormGradientSums)(rows, x, dy, mask, mean, sum_dy, sum_dy_x);
}

void norm_data_gradient(const NormRows& rows, const real* x, const real* dy, const uint8_t* mask, real* dx,
                        bool add, const real* mean, const real* by_dy, const real* by_x, const real* offset) {
  HWY_DYNAMIC_DISPATCH(NormDataGradient)(rows, x, dy, mask, dx, add, mean, by_dy, by_x, offset);
}

}  // namespace mbs
#endif
