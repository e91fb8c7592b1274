// Tiles of images to transformed tiles and back, a strip of neighbouring tiles and a vector of channels at a
// time: one pass along the columns of pixels, which walks the rows of the image, and one along the rows of
// the tiles; what lies between them stays in the first-level cache. So the columns that two patches share
// are transformed once, and only the first pass knows of the edges of an image. Included once per
// instruction set.

#if defined(MBS_LAYERS_KERNELS_WINOGRAD_STRIP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MBS_LAYERS_KERNELS_WINOGRAD_STRIP_INL_H_
#undef MBS_LAYERS_KERNELS_WINOGRAD_STRIP_INL_H_
#else
#define MBS_LAYERS_KERNELS_WINOGRAD_STRIP_INL_H_
#endif

#include <algorithm>

#include "layers/kernels/winograd_lines-inl.h"
#include "layers/kernels/winograd_simd.h"

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {
namespace winograd {

constexpr int64_t kMostStripTiles = 8;
/// Between the passes lie lines of so many columns: [line][column][lane]. Constant steps leave the registers
/// for addresses to what varies.
constexpr int64_t kLineStep = (4 * kMostStripTiles + 2) * kLanes;

/// Neighbouring tiles of one row of tiles of one image.
struct Strip {
  int64_t tiles;           ///< 1 to kMostStripTiles
  int64_t top, left;       ///< its first pixel, perhaps outside of the image
  int64_t columns;         ///< pixels from its first to its last column
  int row_begin, row_end;  ///< rows of it that are inside of the image
  int64_t begin, end;      ///< columns of it that are inside of the image
  int64_t image;           ///< element of the stack of images where its image begins

  /// The strip that begins with tile `first` of a grid and has at most `most` tiles.
  Strip(const TileGrid& g, int64_t first, int64_t most) {
    const int64_t in_image = first % g.tiles(), col = in_image % g.cols;
    tiles = std::min({most, kMostStripTiles, g.cols - col});
    top = in_image / g.cols * g.step - g.top;
    left = col * g.step - g.left;
    columns = (tiles - 1) * g.step + g.size;
    row_begin = static_cast<int>(std::max<int64_t>(0, -top));
    row_end = static_cast<int>(std::min<int64_t>(g.size, g.image.h - top));
    begin = std::max<int64_t>(0, -left);
    end = std::max(begin, std::min(columns, g.image.w - left));
    image = first / g.tiles() * g.image.elems();
  }

  /// The element of the stack of images at row r, in the first column inside of the image.
  int64_t at(const TileGrid& g, int64_t r) const {
    return image + ((top + r) * g.image.w + left + begin) * g.image.c;
  }
};

HWY_INLINE void zero_columns(real* line, int64_t begin, int64_t end) {
  for (int64_t c = begin; c < end; ++c) hn::Store(hn::Zero(d), d, line + c * kLanes);
}

// Transforms the columns of a strip; what is outside of the image is zero. `cut`: some rows are outside.
template <class Line, bool cut>
HWY_INLINE void image_to_lines(const TileGrid& g, const Strip& strip, const real* images, real* lines) {
  const real* from[Line::in];
  alignas(64) real inside[Line::in * kLanes];
  for (int r = 0; r < Line::in; ++r) {
    const int row = std::clamp(r, strip.row_begin, strip.row_end - 1);
    from[r] = images + strip.at(g, row);
    if (cut) hn::Store(hn::VecFromMask(d, hn::FirstN(d, row == r ? kLanes : 0)), d, inside + r * kLanes);
  }
  const int64_t col_step = g.image.c, columns = strip.end - strip.begin;
  real* to = lines + strip.begin * kLanes;
  int64_t at = 0;
  for (int64_t c = 0; c < columns; ++c, at += col_step, to += kLanes)
    Line::run(
        [&](int r) HWY_ATTR {
          const V x = hn::LoadU(d, from[r] + at);
          return cut ? hn::And(x, hn::Load(d, inside + r * kLanes)) : x;
        },
        [&](int r, V x) HWY_ATTR { hn::Store(x, d, to + r * kLineStep); });
}

// Transforms the rows of `tiles` tiles, which begin tile_step columns apart.
template <class Line>
HWY_INLINE void lines_to_tiles(const real* lines, int64_t tiles, int64_t tile_step, real* to,
                               int64_t position_step) {
  for (int64_t t = 0; t < tiles; ++t, lines += tile_step * kLanes, to += kLanes) {
    const real* from = lines;
    real* out = to;
#pragma GCC unroll 1
    for (int r = 0; r < Line::out; ++r, from += kLineStep, out += Line::out * position_step)
      Line::run([&](int c) HWY_ATTR { return hn::Load(d, from + c * kLanes); },
                [&](int c, V x) HWY_ATTR { hn::Store(x, d, out + c * position_step); });
  }
}

template <class Line>
void transform_tiles(const TileGrid& g, const real* images, int64_t first, const TileBlock<real>& to) {
  alignas(64) real lines[Line::out * kLineStep];
  for (int64_t t = 0; t < to.count;) {
    const Strip strip(g, first + t, to.count - t);
    for (int r = 0; r < Line::out; ++r) {
      zero_columns(lines + r * kLineStep, 0, strip.begin);
      zero_columns(lines + r * kLineStep, strip.end, strip.columns);
    }
    const bool cut = strip.row_begin > 0 || strip.row_end < g.size;
    for (int64_t c = 0; c < g.image.c; c += kLanes) {
      (cut ? image_to_lines<Line, true> : image_to_lines<Line, false>)(g, strip, images + c, lines);
      lines_to_tiles<Line>(lines, strip.tiles, g.step, to.data + c * to.capacity + t * kLanes,
                           to.position_step);
    }
    t += strip.tiles;
  }
}

template <class Line>
HWY_INLINE void tiles_to_lines(const real* from, int64_t position_step, int64_t tiles, real* lines) {
  for (int64_t t = 0; t < tiles; ++t, from += kLanes, lines += Line::out * kLanes) {
    const real* in = from;
    real* to = lines;
#pragma GCC unroll 1
    for (int r = 0; r < Line::in; ++r, in += Line::in * position_step, to += kLineStep)
      Line::run([&](int c) HWY_ATTR { return hn::Load(d, in + c * position_step); },
                [&](int c, V x) HWY_ATTR { hn::Store(x, d, to + c * kLanes); });
  }
}

// Transforms the columns of a strip into an image. `plain`: all rows are inside of the image, and there is no
// bias.
template <class Line, bool add, bool plain>
HWY_INLINE void lines_to_image(const TileGrid& g, const Strip& strip, const real* lines, const real* bias,
                               real* image) {
  const int64_t col_step = g.image.c, row_step = g.image.w * col_step, columns = strip.end - strip.begin;
  const int rows = strip.row_end;
  const V b = plain || bias == nullptr ? hn::Zero(d) : hn::LoadU(d, bias);
  for (int64_t c = 0; c < columns; ++c, lines += kLanes, image += col_step)
    Line::run([&](int r) HWY_ATTR { return hn::Load(d, lines + r * kLineStep); },
              [&](int r, V x) HWY_ATTR {
                if (!plain && r >= rows) return;
                real* at = image + r * row_step;
                if (!plain) x = hn::Add(x, b);
                if (add) x = hn::Add(x, hn::LoadU(d, at));
                hn::StoreU(x, d, at);
              });
}

template <int m, bool add>
void transform_outputs(const TileGrid& g, const TileBlock<const real>& from, int64_t first, int64_t channel,
                       int64_t channels, const real* bias, real* images) {
  using Line = OutputLine<m>;
  alignas(64) real lines[Line::in * kLineStep];
  for (int64_t t = 0; t < from.count;) {
    const Strip strip(g, first + t, from.count - t);
    const bool plain = bias == nullptr && strip.row_end == m;
    for (int64_t c = 0; c < channels; c += kLanes) {
      tiles_to_lines<Line>(from.data + c * from.capacity + t * kLanes, from.position_step, strip.tiles,
                           lines);
      (plain ? lines_to_image<Line, add, true>
             : lines_to_image<Line, add, false>)(g, strip, lines,
                                                 bias == nullptr ? nullptr : bias + channel + c,
                                                 images + strip.at(g, 0) + channel + c);
    }
    t += strip.tiles;
  }
}

}  // namespace winograd
}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#endif
