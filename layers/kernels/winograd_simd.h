// The inner loops of Winograd's minimal filtering F(m x m, 3 x 3) (Lavin and Gray, CVPR 2016,
// arXiv:1509.09308), with vectors over channels. An image is cut into tiles of m x m outputs; each reads a
// patch of n x n inputs, n = m + 2. With the transforms B, G, A of the algorithm,
//
//   forward           y  = A^T [ sum over c_in of (G w G^T) * (B^T x B) ] A
//   weight gradient   dw = G^T [ sum over tiles of (A dy A^T) * (B^T x B) ] G
//
// where * is element by element: a product of two matrices at each of the n^2 positions. The data gradient is
// a forward with turned weights.
//
// Transformed tiles lie as [position][block of lanes channels][tile][lane]; transformed weights as
// [position][panel of c_out][c_in][c_out in the panel], with panels of two vectors, the last of one or two.
#pragma once

#include <cstdint>

#include "engine/real.h"
#include "engine/shape.h"

namespace mbs {

/// The tiles of a stack of images in NHWC.
struct TileGrid {
  Shape image;
  int rows, cols;  ///< tiles of one image
  int size, step;  ///< pixels of a tile and from tile to tile, in both directions
  int top, left;   ///< the first tile begins that many pixels outside of the image; outside are zeros

  int64_t tiles() const { return int64_t{rows} * cols; }
};

/// From one position to the next of rows x columns transformed values (tiles x channels, c_in x c_out): a
/// cache line more than they take, so that the positions do not all fall into one set of a cache.
constexpr int64_t winograd_position_step(int64_t rows, int64_t columns) {
  return rows * columns + 64 / int64_t{sizeof(real)};
}

/// Consecutive tiles of a grid, and where they lie when transformed. Steps in elements.
template <class T>
struct TileBlock {
  T* data = nullptr;
  int64_t position_step = 0;  ///< winograd_position_step(capacity, channels)
  int64_t capacity = 0;       ///< tiles that there is room for
  int64_t count = 0;          ///< tiles in use
};

/// B^T x B of tiles [first, first + to.count), n x n pixels each.
void winograd_patches(int m, const TileGrid&, const real* images, int64_t first, const TileBlock<real>& to);
/// A dy A^T of tiles of m x m pixels.
void winograd_gradients(int m, const TileGrid&, const real* images, int64_t first, const TileBlock<real>& to);
/// A^T s A for `channels` channels from `channel` on, which are blocks 0, 1, ... of `from`; assigned to tiles
/// of m x m pixels, or added where `add`. `bias` may be null.
void winograd_outputs(int m, const TileGrid&, const TileBlock<const real>& from, int64_t first,
                      int64_t channel, int64_t channels, const real* bias, bool add, real* images);

/// Channels of the panel of transformed weights that begins at `channel`.
int64_t winograd_panel(int64_t channel, int64_t c_out);

/// s = sum over c_in, one chain in their order, for one panel of c_out at all n^2 positions. `weights`: of
/// the panel at position 0; positions are winograd_position_step() apart.
void winograd_multiply(int m, const TileBlock<const real>& x, int64_t c_in, const real* weights,
                       int64_t c_out, int64_t panel, const TileBlock<real>& s);
/// Adds to transformed weight gradients, one chain in order of tiles that starts from what is there.
void winograd_multiply_gradient(int m, const TileBlock<const real>& x, int64_t c_in,
                                const TileBlock<const real>& dy, int64_t c_out, real* dw);

/// G w G^T of w {3, 3, c_in, c_out}. Both numbers of channels are multiples of the lanes of a vector.
void winograd_weights(int m, int64_t c_in, int64_t c_out, const real* w, real* to);
/// The same for the data gradient: of {3, 3, c_out, c_in} with the taps in reverse order.
void winograd_turned_weights(int m, int64_t c_in, int64_t c_out, const real* w, real* to);
/// dw += G^T s G, and s = 0.
void winograd_weight_gradient(int m, int64_t c_in, int64_t c_out, real* s, real* dw);

}  // namespace mbs
