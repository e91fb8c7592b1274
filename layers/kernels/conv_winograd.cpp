#include "layers/kernels/conv_winograd.h"

#include <algorithm>

#include "layers/kernels/conv_frame.h"
#include "layers/kernels/winograd_simd.h"

namespace mbs {
namespace {

/// Transformed tiles that are worked on at a time stay in a second-level cache, beside weights.
constexpr int64_t kBlockElems = 512 * 1024 / int64_t{sizeof(real)};
constexpr int64_t kFewestTiles = 16, kMostTiles = 64;
constexpr int64_t kMostPanel = 2 * kMaxLanes;

constexpr int64_t positions(int m) { return int64_t{m + 2} * (m + 2); }
int tiles_over(int pixels, int m) { return (pixels + m - 1) / m; }

/// The patches that m x m outputs read; `pad` as of a forward convolution.
TileGrid patch_grid(int m, const Shape& in, const Shape& out, const Extent& pad) {
  return {in, tiles_over(out.h, m), tiles_over(out.w, m), m + 2, m, pad.h, pad.w};
}

TileGrid output_grid(int m, const Shape& out) {
  return {out, tiles_over(out.h, m), tiles_over(out.w, m), m, m, 0, 0};
}

/// Tiles to transform at a time where each has `channels` channels.
int64_t block_tiles(int m, int64_t channels) {
  return std::clamp(kBlockElems / (positions(m) * channels), kFewestTiles, kMostTiles);
}

/// One direction of a correlation with padding: forward, or the data gradient as a correlation over dy.
struct Correlation {
  Shape in, out;
  Extent pad;
};

Correlation forward_of(const ConvShape& s) { return {s.in, s.out, s.pad}; }
Correlation gradient_of(const ConvShape& s) { return {s.out, s.in, {2 - s.pad.h, 2 - s.pad.w}}; }

int64_t correlation_scratch(int m, const Correlation& c) {
  const int64_t tiles = block_tiles(m, c.in.c);
  return kAlignSlack +
         positions(m) * (winograd_position_step(tiles, c.in.c) + winograd_position_step(tiles, kMostPanel));
}

void correlate_by_winograd(int m, const Correlation& c, const ConvArgs& a, const real* images) {
  const TileGrid patches = patch_grid(m, c.in, c.out, c.pad), outputs = output_grid(m, c.out);
  const int64_t capacity = block_tiles(m, c.in.c), all = a.samples * patches.tiles();
  TileBlock<real> x{align_scratch(a.scratch), winograd_position_step(capacity, c.in.c), capacity, 0};
  TileBlock<real> sums{x.data + positions(m) * x.position_step, winograd_position_step(capacity, kMostPanel),
                       capacity, 0};
  for (int64_t first = 0; first < all; first += capacity) {
    x.count = sums.count = std::min(capacity, all - first);
    winograd_patches(m, patches, images, first, x);
    for (int64_t channel = 0; channel < c.out.c;) {
      const int64_t panel = winograd_panel(channel, c.out.c);
      winograd_multiply(m, {x.data, x.position_step, capacity, x.count}, c.in.c,
                        a.prepared + channel * c.in.c, c.out.c, panel, sums);
      winograd_outputs(m, outputs, {sums.data, sums.position_step, capacity, x.count}, first, channel, panel,
                       a.bias, a.add, a.out);
      channel += panel;
    }
  }
}

template <int m>
struct Winograd {
  static int64_t weights_elems(const ConvShape& s) {
    return positions(m) * winograd_position_step(s.in.c, s.out.c);
  }

  static int64_t forward_scratch(const ConvShape& s) { return correlation_scratch(m, forward_of(s)); }
  static void prepare_forward(const ConvShape& s, const real* w, real* prepared) {
    winograd_weights(m, s.in.c, s.out.c, w, prepared);
  }
  static void forward(const ConvShape& s, const ConvArgs& a) {
    correlate_by_winograd(m, forward_of(s), a, a.x);
  }

  static int64_t data_gradient_scratch(const ConvShape& s) { return correlation_scratch(m, gradient_of(s)); }
  static void prepare_data_gradient(const ConvShape& s, const real* w, real* prepared) {
    winograd_turned_weights(m, s.out.c, s.in.c, w, prepared);
  }
  static void data_gradient(const ConvShape& s, const ConvArgs& a) {
    ConvArgs args = a;
    args.bias = nullptr;
    correlate_by_winograd(m, gradient_of(s), args, a.dy);
  }

  static int64_t weight_gradient_scratch(const ConvShape& s) {
    const int64_t tiles = block_tiles(m, (s.in.c + s.out.c) / 2);
    return kAlignSlack +
           positions(m) * (winograd_position_step(tiles, s.in.c) + winograd_position_step(tiles, s.out.c));
  }
  static void weight_gradient(const ConvShape& s, const ConvArgs& a) {
    const TileGrid patches = patch_grid(m, s.in, s.out, s.pad), outputs = output_grid(m, s.out);
    const int64_t capacity = block_tiles(m, (s.in.c + s.out.c) / 2), all = a.samples * patches.tiles();
    TileBlock<real> x{align_scratch(a.scratch), winograd_position_step(capacity, s.in.c), capacity, 0};
    TileBlock<real> dy{x.data + positions(m) * x.position_step, winograd_position_step(capacity, s.out.c),
                       capacity, 0};
    for (int64_t first = 0; first < all; first += capacity) {
      x.count = dy.count = std::min(capacity, all - first);
      winograd_patches(m, patches, a.x, first, x);
      winograd_gradients(m, outputs, a.dy, first, dy);
      winograd_multiply_gradient(m, {x.data, x.position_step, capacity, x.count}, s.in.c,
                                 {dy.data, dy.position_step, capacity, x.count}, s.out.c, a.out);
    }
  }
  static void finish(const ConvShape& s, real* accumulator, real* dw) {
    winograd_weight_gradient(m, s.in.c, s.out.c, accumulator, dw);
  }

  static constexpr ConvKernels kernels() {
    return {{forward_scratch, forward, weights_elems, prepare_forward},
            {data_gradient_scratch, data_gradient, weights_elems, prepare_data_gradient},
            {weight_gradient_scratch, weight_gradient, weights_elems, finish}};
  }
};

}  // namespace

bool winograd_fits(const ConvShape& s) {
  constexpr int kChannels = 16;
  return s.kernel == Extent{3, 3} && s.stride == Extent{1, 1} && s.pad.h <= 2 && s.pad.w <= 2 &&
         s.in.c % kChannels == 0 && s.out.c % kChannels == 0;
}

const ConvKernels kWinogradConv2 = Winograd<2>::kernels(), kWinogradConv4 = Winograd<4>::kernels();

}  // namespace mbs
