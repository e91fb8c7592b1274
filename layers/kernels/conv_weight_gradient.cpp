// Direct convolution, weight gradient: blocks of dw stay in registers while the pixels of a strip go by.
#include "layers/kernels/conv_weight_gradient.h"

#include <utility>

#include "layers/kernels/conv_frame.h"

namespace mbs {
namespace {

/// A strip is so many pixels that the blocks of dw go over together: few enough that what a block reads of
/// them stays in the first-level cache for the next block, and more where dw itself has to come from afar.
int64_t strip_pixels(const ConvShape& s) {
  constexpr int64_t kLargeWeights = 512 * 1024 / int64_t{sizeof(real)};
  return s.weight_elems() > kLargeWeights ? 224 : 128;
}

/// What a block of dw reads of a strip are a few elements of every patch, a cache line each. Patches of many
/// channels lie so far apart that these lines fight for few sets of the first-level cache; where enough
/// panels read them, a copy pays. Of several taps each element is copied once a tap, so it takes more panels.
bool packs_patches(const ConvShape& s) {
  const int64_t many = s.taps() == 1 ? 64 : 128;  // channels in, channels out
  return s.in.c >= many && s.out.c >= many && s.out.c % (kMaxPanelVectors * vector_lanes()) == 0;
}

/// Elements of patches that are packed at a time, so that they stay in the second-level cache.
constexpr int64_t kPackedElems = 512;

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
  constexpr int64_t kOften = 128;  // elements of a patch
  return panel.partial() || (s.out.c > panel.width && s.taps() * s.in.c >= kOften);
}

/// Adds to dw what a strip gives, dw and `wide_dw` being those of the patches' first element. `dense`: space
/// for a copy of a panel's dy.
void add_strip(const ConvShape& s, const Patch& patch, const GradientPixels& strip, real* dw, real* wide_dw,
               real* dense) {
  for_each_panel(s, dw, wide_dw, [&](const Panel& p) {
    GradientPixels pixels = strip;
    pixels.dy += p.first;
    if (copies_dy(s, p)) {
      copy_columns(pixels.dy, pixels.count, p.channels, pixels.dy_step, dense, p.width);
      pixels.dy = dense;
      pixels.dy_step = p.width;
    }
    correlate_gradient(patch, pixels, p.vectors, p.dw, p.dw_step);
  });
}

/// The same by way of packed patches. All panels are whole.
void add_packed_strip(const ConvShape& s, const Patch& patch, GradientPixels strip, real* dw, real* dense,
                      const real** pointers, real* packed) {
  const real* const* patches = std::exchange(strip.patches, pointers);
  strip.packed = true;
  strip.ahead = 0;
  for (int run = 0; run < patch.runs; ++run)
    for (int64_t k = 0; k < patch.run_elems; k += kPackedElems) {
      const int64_t elems = std::min(kPackedElems, patch.run_elems - k);
      pack_patches(elems, run * patch.run_step + k, strip.count, patches, packed, pointers);
      add_strip(s, Patch{1, 0, elems}, strip, dw + (run * patch.run_elems + k) * s.out.c, nullptr, dense);
    }
}

/// Calls body(strip) for the pixels of a tile in their order. `dy`: of its first pixel; `patches`: space for
/// the pointers of a strip.
template <class Body>
void for_each_strip(const ConvShape& s, const Frame& f, const Tile& t, const real* x, int64_t x_step,
                    const real* dy, const real** patches, Body&& body) {
  const int64_t total = int64_t{t.samples} * t.rows * s.out.w, most = strip_pixels(s);
  const int64_t strips = (total + most - 1) / most;
  const int64_t row_step = s.stride.h * f.row_elems(), col_step = int64_t{s.stride.w} * s.in.c;
  int64_t row = 0, col = 0;  // rows count on from sample to sample
  for (int64_t i = 0, first = 0; i < strips; ++i) {
    const int64_t end = total * (i + 1) / strips, pixels = end - first;
    for (int64_t p = 0; p < pixels;) {
      const real* from = x + row / t.rows * x_step + row % t.rows * row_step + col * col_step;
      const int64_t count = std::min(s.out.w - col, pixels - p);
      for (int64_t c = 0; c < count; ++c) patches[p + c] = from + c * col_step;
      p += count;
      col = (col + count) % s.out.w;
      row += col == 0 ? 1 : 0;
    }
    body(GradientPixels{pixels, patches, false, f.bare() ? pixels / s.out.w * row_step : 0,
                        dy + first * s.out.c, s.out.c});
    first = end;
  }
}

/// Where images are used in place a tile is as good as any: all samples.
Tile tile_size(const ConvShape& s, const Frame& f, int samples) {
  if (f.bare()) return {0, samples, 0, f.rows};
  return largest_tile(f, s.out.w, f.step * f.row_elems() + int64_t{s.out.w} * s.out.c);
}

/// Elements that the pointers of a strip and of its packed patches take, in whole cache lines.
int64_t pointer_elems(const ConvShape& s) {
  constexpr int64_t kPointers = kAlignSlack * int64_t{sizeof(real)} / int64_t{sizeof(real*)};  // of a line
  return (2 * strip_pixels(s) + kPointers - 1) / kPointers * kAlignSlack;
}

int64_t scratch_elems(const ConvShape& s) {
  const Frame f = input_frame(s);
  return kAlignSlack + frame_scratch(f, tile_size(s, f, 1)) + pointer_elems(s) +
         (s.taps() * s.in.c + strip_pixels(s)) * kMaxPanelVectors * kMaxLanes +
         (packs_patches(s) ? strip_pixels(s) * packed_patch_elems(kPackedElems) : 0);
}

void run(const ConvShape& s, const ConvArgs& a) {
  const Frame frame = input_frame(s);
  const Tile largest = tile_size(s, frame, a.samples);
  const Patch patch = input_patch(s, frame);
  real* framed = align_scratch(a.scratch);
  real* pointers = framed + frame_scratch(frame, largest);
  real* wide_dw = pointers + pointer_elems(s);
  real* dense = wide_dw + patch.elems() * kMaxPanelVectors * kMaxLanes;
  real* packed = dense + strip_pixels(s) * kMaxPanelVectors * kMaxLanes;
  const real** patches = reinterpret_cast<const real**>(pointers);
  for_each_panel(s, a.out, wide_dw, [&](const Panel& p) {
    if (p.partial()) copy_columns(a.out + p.first, patch.elems(), p.channels, s.out.c, wide_dw, p.width);
  });
  for_each_tile(frame, largest, a.samples, a.x, framed, [&](const Tile& t, const real* x, int64_t x_step) {
    const real* dy = a.dy + t.first * s.out.elems() + int64_t{t.row} * s.out.w * s.out.c;
    for_each_strip(s, frame, t, x, x_step, dy, patches, [&](const GradientPixels& strip) {
      if (packs_patches(s))
        add_packed_strip(s, patch, strip, a.out, dense, patches + strip_pixels(s), packed);
      else
        add_strip(s, patch, strip, a.out, wide_dw, dense);
    });
  });
  for_each_panel(s, a.out, wide_dw, [&](const Panel& p) {
    for (int64_t i = 0; p.partial() && i < patch.elems(); ++i)
      std::copy_n(wide_dw + i * p.width, p.channels, a.out + i * s.out.c + p.first);
  });
}

}  // namespace

const ConvWeightGradient kDirectWeightGradient = {scratch_elems, run};

}  // namespace mbs
