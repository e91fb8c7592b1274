// What direct convolution does before its inner loops: the work is cut into tiles that stay in cache, and
// what a tile reads of the images gets a border of zeros.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/real.h"
#include "engine/shape.h"
#include "layers/kernels/conv.h"
#include "layers/kernels/conv_simd.h"

namespace mbs {

/// Images in a border of zeros, and who reads them: output row i reads `span` rows of the framed image, from
/// row i * step on.
struct Frame {
  Shape image;
  int top = 0, left = 0, right = 0;  ///< below there is as much as is read
  int rows = 0, step = 1, span = 1;

  int64_t row_elems() const { return (int64_t{left} + image.w + right) * image.c; }
  int64_t rows_read(int output_rows) const { return int64_t{output_rows - 1} * step + span; }
  /// Nothing outside of the images is read.
  bool bare() const { return top + left + right == 0 && rows_read(rows) <= image.h; }
};

/// The frame of x in the forward pass and in the weight gradient.
Frame input_frame(const ConvShape&);
/// What an output of a convolution reads in its framed input.
Patch input_patch(const ConvShape&, const Frame&);

/// Output rows [row, row + rows) of samples [first, first + samples); either one sample or all rows.
struct Tile {
  int first = 0, samples = 1, row = 0, rows = 1;
};

/// The size of tiles for images of `row_elems` elements in and out for each output row, of `cols` pixels:
/// half of a second-level cache of 1 MiB. Small images come with many weights, so a tile has enough pixels to
/// pay for reading them even if it overflows.
Tile largest_tile(const Frame&, int64_t cols, int64_t row_elems);

/// Scratch space for the framed images of such a tile.
int64_t frame_scratch(const Frame&, const Tile& largest);

/// Fills the frame of a tile's samples, one after the other.
void fill_frame(const Frame&, const Tile&, const real* images, real* framed);

/// The first address from `p` on that is a multiple of a cache line; kAlignSlack elements may be skipped.
real* align_scratch(real* p);
inline constexpr int64_t kAlignSlack = 64 / int64_t{sizeof(real)};

/// Calls body(tile, framed images, distance of samples) for one tile after the other; the framed images begin
/// with the first row that the tile reads. `scratch`: as frame_scratch says. Where nothing outside is read
/// the images are used where they are.
template <class Body>
void for_each_tile(const Frame& f, const Tile& largest, int samples, const real* images, real* scratch,
                   Body&& body) {
  const int bands = (f.rows + largest.rows - 1) / largest.rows;
  for (int first = 0; first < samples; first += largest.samples)
    for (int b = 0; b < bands; ++b) {
      const int row = f.rows * b / bands;
      const Tile tile{first, std::min(largest.samples, samples - first), row, f.rows * (b + 1) / bands - row};
      if (f.bare()) {
        const real* begin = images + first * f.image.elems() + int64_t{row} * f.step * f.row_elems();
        body(tile, begin, f.image.elems());
      } else {
        fill_frame(f, tile, images, scratch);
        body(tile, scratch, f.rows_read(tile.rows) * f.row_elems());
      }
    }
}

}  // namespace mbs
