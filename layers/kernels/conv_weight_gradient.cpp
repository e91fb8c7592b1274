// Direct convolution, weight gradient: blocks of dw stay in registers while the pixels of a tile go by.
#include "layers/kernels/conv_weight_gradient.h"

#include "layers/kernels/conv_frame.h"

namespace mbs {
namespace {

constexpr int kMostVectors = 2;  // of a panel: rows of pixels are long enough
constexpr int64_t kLongRow = 64;

/// Output rows of one sample that are worked on at a time, so that they stay in cache while the blocks of dw
/// go over them.
int rows_per_band(const ConvShape& s, const Frame& f) {
  const int64_t row = int64_t{s.stride.h} * f.row_elems() + int64_t{s.out.w} * s.out.c;
  return static_cast<int>(std::clamp<int64_t>(kTileElems / row, 1, s.out.h));
}

/// Copies `count` rows of `channels` values, `from_step` apart, to rows of `width` values, zeros after the
/// last.
void widen_rows(int64_t count, int64_t channels, const real* from, int64_t from_step, real* to,
                int64_t width) {
  for (int64_t i = 0; i < count; ++i, from += from_step, to += width) {
    std::copy_n(from, channels, to);
    std::fill(to + channels, to + width, real{0});
  }
}

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
    const int vectors = panel_vectors(s.out.c - first, kLongRow);
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

/// A panel that ends inside of a vector needs zeros there. And where pixels lie far apart and are read again
/// and again, a dense copy stays in the first-level cache.
bool copies_dy(const ConvShape& s) {
  constexpr int64_t kFarApart = 128, kOften = 128;  // channels; elements of a patch (14 for each time)
  return s.out.c % vector_lanes() != 0 || (s.out.c >= kFarApart && s.taps() * s.in.c >= kOften);
}

/// What the inner loop reads of one tile: output rows [row, row + rows) of `samples` samples.
struct Band {
  int samples, row, rows;
  const real* images;  ///< framed, first sample
  const real* dy;      ///< first sample
};

/// Adds to one panel of dw what a band gives. `dense`: space for a copy of the panel's dy.
void add_band(const ConvShape& s, const Frame& f, const Panel& panel, const Band& b, real* dense) {
  Patches p = input_patches(s, f);
  if (s.pointwise())
    p.cols = b.rows * s.out.w;
  else
    p.rows = b.rows;
  const int64_t first_pixel = int64_t{b.row} * s.out.w, pixels = int64_t{b.rows} * s.out.w;
  const real* from = b.dy + first_pixel * s.out.c + panel.first;
  Pixels<const real> grid{from, int64_t{s.out.w} * s.out.c, s.out.c};
  int64_t dy_step = s.out.elems();
  if (copies_dy(s)) {
    dy_step = pixels * panel.width;
    grid = {dense, s.out.w * panel.width, panel.width};
    for (int i = 0; i < b.samples; ++i)
      widen_rows(pixels, panel.channels, from + i * s.out.elems(), s.out.c, dense + i * dy_step, panel.width);
  }
  correlate_gradient(p, b.samples, b.images + b.row * s.stride.h * f.row_elems(), f.elems(), grid, dy_step,
                     panel.vectors, panel.dw, panel.dw_step);
}

int64_t scratch_elems(const ConvShape& s) {
  const Frame frame = input_frame(s);
  const int64_t rows = s.taps() * s.in.c + frame.samples_per_tile() * s.out.pixels();
  return kAlignSlack + frame.scratch_elems() + rows * kMostVectors * kMaxLanes;
}

void run(const ConvShape& s, const ConvArgs& a) {
  const Frame frame = input_frame(s);
  const int64_t k = s.taps() * s.in.c;
  real* framed = align_scratch(a.scratch);
  real* wide_dw = framed + frame.scratch_elems();
  real* dense = wide_dw + k * kMostVectors * kMaxLanes;
  for_each_panel(s, a.out, wide_dw, [&](const Panel& panel) {
    if (panel.partial()) widen_rows(k, panel.channels, a.out + panel.first, s.out.c, wide_dw, panel.width);
  });
  for_each_tile(frame, a.samples, a.x, framed, [&](int first, int count, const real* images) {
    const int band = count > 1 ? s.out.h : rows_per_band(s, frame);
    for (int row = 0; row < s.out.h; row += band) {
      const Band rows{count, row, std::min(band, s.out.h - row), images, a.dy + first * s.out.elems()};
      for_each_panel(s, a.out, wide_dw, [&](const Panel& panel) { add_band(s, frame, panel, rows, dense); });
    }
  });
  for_each_panel(s, a.out, wide_dw, [&](const Panel& panel) {
    for (int64_t i = 0; panel.partial() && i < k; ++i)
      std::copy_n(wide_dw + i * panel.width, panel.channels, a.out + i * s.out.c + panel.first);
  });
}

}  // namespace

const ConvWeightGradient kDirectWeightGradient = {scratch_elems, run};

}  // namespace mbs
