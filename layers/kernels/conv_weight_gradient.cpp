// Direct convolution, weight gradient: blocks of dw stay in registers while the pixels of a strip go by.
#include "layers/kernels/conv_weight_gradient.h"

#include <array>

#include "layers/kernels/conv_frame.h"

namespace mbs {
namespace {

/// Pixels that the blocks of dw go over together: with their panel of dy they stay in the first-level cache,
/// and they are enough to pay for reading and writing a block.
constexpr int64_t kStripPixels = 192;

/// One panel of c_out. A panel that ends inside of a vector works on a copy of its columns of dw, padded with
/// zeros.
struct Panel {
  int vectors;
  int64_t width, first, channels;
  real* dw;
  int64_t dw_step;  ///< between rows of dw

  bool partial() const { return channels < width; }
};

/// Calls body(panel) for all columns of `dw`; `wide_dw` is where the padded copy is.
template <class Body>
void for_each_panel(const ConvShape& s, real* dw, real* wide_dw, Body&& body) {
  for (int64_t first = 0; first < s.out.c;) {
    const int vectors = panel_vectors(s.out.c - first);
    const int64_t width = vectors * vector_lanes();
    Panel panel{vectors, width, first, std::min(width, s.out.c - first), dw + first, s.out.c};
    if (panel.partial()) {
      panel.dw = wide_dw;
      panel.dw_step = width;
    }
    body(panel);
    first += panel.channels;
  }
}

/// A panel that ends inside of a vector needs zeros there. And where there are several panels and pixels are
/// read again and again, a dense copy stays in the first-level cache.
bool copies_dy(const ConvShape& s, const Panel& panel) {
  constexpr int64_t kOften = 64;  // elements of a patch
  return panel.partial() || (s.out.c > panel.width && s.taps() * s.in.c >= kOften);
}

/// Some consecutive pixels of a tile.
struct Strip {
  int64_t pixels;
  std::array<const real*, kStripPixels> patches;
  const real* dy;
};

/// Adds to dw what a strip gives. `dense`: space for a copy of a panel's dy.
void add_strip(const ConvShape& s, const Patch& patch, const Strip& strip, real* dw, real* wide_dw,
               real* dense) {
  for_each_panel(s, dw, wide_dw, [&](const Panel& p) {
    const real* dy = strip.dy + p.first;
    int64_t dy_step = s.out.c;
    if (copies_dy(s, p)) {
      copy_columns(dy, strip.pixels, p.channels, dy_step, dense, p.width);
      dy = dense;
      dy_step = p.width;
    }
    correlate_gradient(patch, strip.pixels, strip.patches.data(), dy, dy_step, p.vectors, p.dw, p.dw_step);
  });
}

/// Calls body(strip) for the pixels of a tile in their order. `dy`: of its first pixel.
template <class Body>
void for_each_strip(const ConvShape& s, const Frame& f, const Tile& t, const real* x, int64_t x_step,
                    const real* dy, Body&& body) {
  const int64_t total = int64_t{t.samples} * t.rows * s.out.w;
  const int64_t strips = (total + kStripPixels - 1) / kStripPixels;
  Strip strip{0, {}, dy};
  int64_t n = 0, row = 0, col = 0;
  for (int64_t i = 0; i < strips; ++i, strip.dy += strip.pixels * s.out.c) {
    strip.pixels = total * (i + 1) / strips - total * i / strips;
    for (int64_t p = 0; p < strip.pixels; ++p) {
      strip.patches[static_cast<size_t>(p)] =
          x + n * x_step + row * s.stride.h * f.row_elems() + col * s.stride.w * s.in.c;
      if (++col < s.out.w) continue;
      col = 0;
      if (++row < t.rows) continue;
      row = 0;
      ++n;
    }
    body(strip);
  }
}

Tile tile_size(const ConvShape& s, const Frame& f) {
  return largest_tile(f, s.out.w, f.step * f.row_elems() + int64_t{s.out.w} * s.out.c);
}

int64_t scratch_elems(const ConvShape& s) {
  const Frame f = input_frame(s);
  return kAlignSlack + frame_scratch(f, tile_size(s, f)) +
         (s.taps() * s.in.c + kStripPixels) * kMaxPanelVectors * kMaxLanes;
}

void run(const ConvShape& s, const ConvArgs& a) {
  const Frame frame = input_frame(s);
  const Tile largest = tile_size(s, frame);
  const Patch patch = input_patch(s, frame);
  real* framed = align_scratch(a.scratch);
  real* wide_dw = framed + frame_scratch(frame, largest);
  real* dense = wide_dw + patch.elems() * kMaxPanelVectors * kMaxLanes;
  for_each_panel(s, a.out, wide_dw, [&](const Panel& p) {
    if (p.partial()) copy_columns(a.out + p.first, patch.elems(), p.channels, s.out.c, wide_dw, p.width);
  });
  for_each_tile(frame, largest, a.samples, a.x, framed, [&](const Tile& t, const real* x, int64_t x_step) {
    const real* dy = a.dy + t.first * s.out.elems() + int64_t{t.row} * s.out.w * s.out.c;
    for_each_strip(s, frame, t, x, x_step, dy,
                   [&](const Strip& strip) { add_strip(s, patch, strip, a.out, wide_dw, dense); });
  });
  for_each_panel(s, a.out, wide_dw, [&](const Panel& p) {
    for (int64_t i = 0; p.partial() && i < patch.elems(); ++i)
      std::copy_n(wide_dw + i * p.width, p.channels, a.out + i * s.out.c + p.first);
  });
}

}  // namespace

const ConvWeightGradient kDirectWeightGradient = {scratch_elems, run};

}  // namespace mbs
