#include "layers/kernels/winograd_simd.h"

#include <algorithm>
#include <array>

#include "layers/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/kernels/winograd_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "layers/kernels/registers-inl.h"
#include "layers/kernels/winograd_lines-inl.h"
#include "layers/kernels/winograd_strip-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {
namespace winograd {

// --- products ---

// s of kTiles tiles and kVectors vectors of c_out. Tiles lie side by side in a block of channels, so that
// every address is one register and a constant.
template <int kTiles, int kVectors>
void multiply_tiles(const real* x, int64_t block_step, int64_t c_in, const real* w, real* s) {
  V acc[kTiles][kVectors];
  UNROLL(kTiles, i, UNROLL(kVectors, v, acc[i][v] = hn::Zero(d);););
  for (int64_t block = 0; block < c_in; block += kLanes, x += block_step)
    for (int64_t k = 0; k < kLanes; ++k, w += kVectors * kLanes) {
      V wv[kVectors];
      UNROLL(kVectors, v, wv[v] = hn::LoadU(d, w + v * kLanes););
      UNROLL(kTiles, i, const V xv = hn::Set(d, x[i * kLanes + k]);
             UNROLL(kVectors, v, acc[i][v] = hn::MulAdd(xv, wv[v], acc[i][v]);););
    }
  UNROLL(kTiles, i, UNROLL(kVectors, v, hn::Store(acc[i][v], d, s + v * block_step + i * kLanes);););
}

using MultiplyTiles = void (*)(const real*, int64_t, int64_t, const real*, real*);

// Entry i is the block of i + 1 tiles.
template <int kVectors, int... I>
constexpr std::array<MultiplyTiles, sizeof...(I)> multiply_blocks(std::integer_sequence<int, I...>) {
  return {multiply_tiles<I + 1, kVectors>...};
}

template <int kVectors>
void multiply_panel(int positions, const TileBlock<const real>& x, int64_t c_in, const real* weights,
                    int64_t c_out, const TileBlock<real>& s) {
  constexpr int kMost = std::min(kAccumulators / kVectors, 24);
  static constexpr auto kBlocks = multiply_blocks<kVectors>(std::make_integer_sequence<int, kMost>());
  const int64_t block_step = x.capacity * kLanes, pieces = (x.count + kMost - 1) / kMost;
  for (int p = 0; p < positions; ++p)
    for (int64_t i = 0; i < pieces; ++i) {
      const int64_t begin = x.count * i / pieces, size = x.count * (i + 1) / pieces - begin;
      kBlocks[static_cast<size_t>(size - 1)](x.data + p * x.position_step + begin * kLanes, block_step, c_in,
                                             weights + p * winograd_position_step(c_in, c_out),
                                             s.data + p * s.position_step + begin * kLanes);
    }
}

// A block of transformed weight gradients, kElems of c_in by kVectors vectors of c_out, over all tiles.
template <int kElems, int kVectors>
void multiply_gradient_block(const real* x, const real* dy, int64_t dy_step, int64_t tiles, real* dw) {
  V acc[kElems][kVectors];
  UNROLL(kElems, i, UNROLL(kVectors, v, acc[i][v] = hn::LoadU(d, dw + (i * kVectors + v) * kLanes);););
  for (int64_t t = 0; t < tiles; ++t, x += kLanes, dy += kLanes) {
    V g[kVectors];
    UNROLL(kVectors, v, g[v] = hn::Load(d, dy + v * dy_step););
    UNROLL(kElems, i, const V xv = hn::Set(d, x[i]);
           UNROLL(kVectors, v, acc[i][v] = hn::MulAdd(xv, g[v], acc[i][v]);););
  }
  UNROLL(kElems, i, UNROLL(kVectors, v, hn::StoreU(acc[i][v], d, dw + (i * kVectors + v) * kLanes);););
}

template <int kVectors>
void multiply_gradient_panel(const real* x, int64_t x_step, int64_t c_in, const real* dy, int64_t dy_step,
                             int64_t tiles, real* dw) {
  constexpr int kMost = kAccumulators >= 16 ? 16 : kAccumulators >= 8 ? 8 : 4;
  constexpr int kElems = static_cast<int>(std::min<int64_t>(kMost / kVectors, kLanes));
  for (int64_t block = 0; block < c_in; block += kLanes, x += x_step)
    for (int64_t e = 0; e < kLanes; e += kElems, dw += kElems * kVectors * kLanes)
      multiply_gradient_block<kElems, kVectors>(x + e, dy, dy_step, tiles, dw);
}

constexpr int64_t kPanel = 2 * kLanes;

// Calls body(first channel, channels) for every panel of c_out.
template <class Body>
HWY_INLINE void for_panels(int64_t c_out, const Body& body) {
  for (int64_t c = 0; c < c_out; c += kPanel) body(c, std::min(kPanel, c_out - c));
}

// --- weights ---

// Calls body(input channel, output channels, offset in transformed weights) for every vector of c_out.
template <class Body>
HWY_INLINE void for_weights(int64_t c_in, int64_t c_out, const Body& body) {
  for_panels(c_out, [&](int64_t first, int64_t width) HWY_ATTR {
    for (int64_t i = 0; i < c_in; ++i)
      for (int64_t v = 0; v < width; v += kLanes) body(i, first + v, first * c_in + i * width + v);
  });
}

template <int m>
void transform_weights(int64_t c_in, int64_t c_out, const real* w, real* to) {
  using Line = WeightLine<m>;
  const int64_t step = winograd_position_step(c_in, c_out);
  for_weights(c_in, c_out, [&](int64_t i, int64_t o, int64_t at) HWY_ATTR {
    square_transform<Line>(
        [&](int row, int col) HWY_ATTR { return hn::LoadU(d, w + ((row * 3 + col) * c_in + i) * c_out + o); },
        [&](int row, int col, V v) HWY_ATTR { hn::StoreU(v, d, to + (row * Line::out + col) * step + at); });
  });
}

// Transposes a square of channels of all taps at a time. `w` has c_out as its input channels and c_in as its
// output channels.
template <int m>
void transform_turned_weights(int64_t c_in, int64_t c_out, const real* w, real* to) {
  using Line = WeightLine<m>;
  constexpr int64_t kSquare = kLanes * kLanes;
  const int64_t step = winograd_position_step(c_in, c_out);
  alignas(64) real turned[9 * kSquare];
  for_panels(c_out, [&](int64_t first, int64_t width) HWY_ATTR {
    for (int64_t v = 0; v < width; v += kLanes)
      for (int64_t block = 0; block < c_in; block += kLanes) {
        for (int tap = 0; tap < 9; ++tap)
          transpose(w + (tap * c_out + first + v) * c_in + block, kLanes, kLanes, c_in,
                    turned + (8 - tap) * kSquare, kLanes);
        for (int64_t i = 0; i < kLanes; ++i) {
          real* at = to + first * c_in + (block + i) * width + v;
          square_transform<Line>(
              [&](int row, int col)
                  HWY_ATTR { return hn::Load(d, turned + (row * 3 + col) * kSquare + i * kLanes); },
              [&](int row, int col, V x) HWY_ATTR { hn::StoreU(x, d, at + (row * Line::out + col) * step); });
        }
      }
  });
}

template <int m>
void transform_weight_gradient(int64_t c_in, int64_t c_out, real* s, real* dw) {
  using Line = WeightGradientLine<m>;
  const int64_t step = winograd_position_step(c_in, c_out);
  for_weights(c_in, c_out, [&](int64_t i, int64_t o, int64_t at) HWY_ATTR {
    square_transform<Line>(
        [&](int row, int col) HWY_ATTR {
          real* from = s + (row * Line::in + col) * step + at;
          const V v = hn::LoadU(d, from);
          hn::StoreU(hn::Zero(d), d, from);
          return v;
        },
        [&](int row, int col, V v) HWY_ATTR {
          real* sum = dw + ((row * 3 + col) * c_in + i) * c_out + o;
          hn::StoreU(hn::Add(hn::LoadU(d, sum), v), d, sum);
        });
  });
}

}  // namespace winograd

void WinogradPatches(int m, const TileGrid& g, const real* images, int64_t first, const TileBlock<real>& to) {
  (m == 4 ? winograd::transform_tiles<winograd::PatchLine<4>>
          : winograd::transform_tiles<winograd::PatchLine<2>>)(g, images, first, to);
}

void WinogradGradients(int m, const TileGrid& g, const real* images, int64_t first,
                       const TileBlock<real>& to) {
  (m == 4 ? winograd::transform_tiles<winograd::GradientLine<4>>
          : winograd::transform_tiles<winograd::GradientLine<2>>)(g, images, first, to);
}

void WinogradOutputs(int m, const TileGrid& g, const TileBlock<const real>& from, int64_t first,
                     int64_t channel, int64_t channels, const real* bias, bool add, real* images) {
  const auto transform =
      m == 4 ? add ? winograd::transform_outputs<4, true> : winograd::transform_outputs<4, false>
      : add ? winograd::transform_outputs<2, true>
             : winograd::transform_outputs<2, false>;
  transform(g, from, first, channel, channels, bias, images);
}

int64_t WinogradPanel(int64_t channel, int64_t c_out) { return std::min(winograd::kPanel, c_out - channel); }

void WinogradMultiply(int m, const TileBlock<const real>& x, int64_t c_in, const real* weights, int64_t c_out,
                      int64_t panel, const TileBlock<real>& s) {
  (panel == winograd::kPanel ? winograd::multiply_panel<2>
                             : winograd::multiply_panel<1>)((m + 2) * (m + 2), x, c_in, weights, c_out, s);
}

void WinogradMultiplyGradient(int m, const TileBlock<const real>& x, int64_t c_in,
                              const TileBlock<const real>& dy, int64_t c_out, real* dw) {
  const int64_t x_step = x.capacity * winograd::kLanes, dy_step = dy.capacity * winograd::kLanes;
  const int64_t step = winograd_position_step(c_in, c_out);
  for (int p = 0; p < (m + 2) * (m + 2); ++p)
    winograd::for_panels(c_out, [&](int64_t first, int64_t width) HWY_ATTR {
      (width == winograd::kPanel
           ? winograd::multiply_gradient_panel<2>
           : winograd::multiply_gradient_panel<1>)(x.data + p * x.position_step, x_step, c_in,
                                                   dy.data + p * dy.position_step +
                                                       first / winograd::kLanes * dy_step,
                                                   dy_step, x.count, dw + p * step + first * c_in);
    });
}

void WinogradWeights(int m, int64_t c_in, int64_t c_out, const real* w, real* to) {
  (m == 4 ? winograd::transform_weights<4> : winograd::transform_weights<2>)(c_in, c_out, w, to);
}

void WinogradTurnedWeights(int m, int64_t c_in, int64_t c_out, const real* w, real* to) {
  (m == 4 ? winograd::transform_turned_weights<4> : winograd::transform_turned_weights<2>)(c_in, c_out, w,
                                                                                           to);
}

void WinogradWeightGradient(int m, int64_t c_in, int64_t c_out, real* s, real* dw) {
  (m == 4 ? winograd::transform_weight_gradient<4> : winograd::transform_weight_gradient<2>)(c_in, c_out, s,
                                                                                             dw);
}

}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mbs {
HWY_EXPORT(WinogradPatches);
HWY_EXPORT(WinogradGradients);
HWY_EXPORT(WinogradOutputs);
HWY_EXPORT(WinogradPanel);
HWY_EXPORT(WinogradMultiply);
HWY_EXPORT(WinogradMultiplyGradient);
HWY_EXPORT(WinogradWeights);
HWY_EXPORT(WinogradTurnedWeights);
HWY_EXPORT(WinogradWeightGradient);

void winograd_patches(int m, const TileGrid& g, const real* images, int64_t first,
                      const TileBlock<real>& to) {
  HWY_DYNAMIC_DISPATCH(WinogradPatches)(m, g, images, first, to);
}

void winograd_gradients(int m, const TileGrid& g, const real* images, int64_t first,
                        const TileBlock<real>& to) {
  HWY_DYNAMIC_DISPATCH(WinogradGradients)(m, g, images, first, to);
}

void winograd_outputs(int m, const TileGrid& g, const TileBlock<const real>& from, int64_t first,
                      int64_t channel, int64_t channels, const real* bias, bool add, real* images) {
  HWY_DYNAMIC_DISPATCH(WinogradOutputs)(m, g, from, first, channel, channels, bias, add, images);
}

int64_t winograd_panel(int64_t channel, int64_t c_out) {
  return HWY_DYNAMIC_DISPATCH(WinogradPanel)(channel, c_out);
}

void winograd_multiply(int m, const TileBlock<const real>& x, int64_t c_in, const real* weights,
                       int64_t c_out, int64_t panel, const TileBlock<real>& s) {
  HWY_DYNAMIC_DISPATCH(WinogradMultiply)(m, x, c_in, weights, c_out, panel, s);
}

void winograd_multiply_gradient(int m, const TileBlock<const real>& x, int64_t c_in,
                                const TileBlock<const real>& dy, int64_t c_out, real* dw) {
  HWY_DYNAMIC_DISPATCH(WinogradMultiplyGradient)(m, x, c_in, dy, c_out, dw);
}

void winograd_weights(int m, int64_t c_in, int64_t c_out, const real* w, real* to) {
  HWY_DYNAMIC_DISPATCH(WinogradWeights)(m, c_in, c_out, w, to);
}

void winograd_turned_weights(int m, int64_t c_in, int64_t c_out, const real* w, real* to) {
  HWY_DYNAMIC_DISPATCH(WinogradTurnedWeights)(m, c_in, c_out, w, to);
}

void winograd_weight_gradient(int m, int64_t c_in, int64_t c_out, real* s, real* dw) {
  HWY_DYNAMIC_DISPATCH(WinogradWeightGradient)(m, c_in, c_out, s, dw);
}

}  // namespace mbs
#endif
