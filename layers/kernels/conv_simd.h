// The two inner loops of direct convolution, with vectors over output channels. Everything is the same
// product of a matrix of patches, whose rows overlap in memory, and a panel of weights:
//
//   correlate            out[pixel][co]  = sum over k of patch(pixel)[k] * panel[k][co]
//   correlate_gradient   dw[k][co]      += sum over pixels of patch(pixel)[k] * dy[pixel][co]
//
// A panel is a range of output channels as wide as one or two vectors.
#pragma once

#include <cstdint>

#include "engine/real.h"

namespace mbs {

/// The elements of a patch: `runs` runs of `run_elems` consecutive values (a row of the kernel reads kernel
/// width x c_in neighbours), run_step elements apart.
struct Patch {
  int runs = 0;
  int64_t run_step = 0, run_elems = 0;

  int64_t elems() const { return runs * run_elems; }
};

/// So many pixels: rows of columns of some samples.
struct Grid {
  int64_t samples = 0, rows = 0, cols = 0;
};

/// Where the pixels of a grid lie; steps in elements. A patch is where its first element is.
template <class T>
struct Pixels {
  T* data = nullptr;
  int64_t sample_step = 0, row_step = 0, col_step = 0;
};

/// Elements of one vector on this machine.
int64_t vector_lanes();
/// No machine has vectors of more elements; a bound for scratch space.
inline constexpr int64_t kMaxLanes = 64 / sizeof(real);
inline constexpr int kMaxPanelVectors = 2;
/// Vectors of the next panel where `channels` are left: two, or one for what fits into one.
inline int panel_vectors(int64_t channels) { return channels <= vector_lanes() ? 1 : kMaxPanelVectors; }

/// out = bias + the sum above, or out += it where `add`. `panel` is [patch.elems()][vectors * lanes];
/// `channels` of its columns are stored. `bias` may be null. The sum of an output is one chain of fused
/// multiply-adds in order of k, whatever pixels are computed beside it.
void correlate(const Patch&, Grid, Pixels<const real> patches, const real* panel, int vectors,
               int64_t channels, const real* bias, bool add, Pixels<real> out);

/// The pixels that correlate_gradient sums over. Pixel i has the patch that begins at patches[i], and
/// dy + i * dy_step.
struct GradientPixels {
  int64_t count = 0;
  const real* const* patches = nullptr;
  bool packed = false;  ///< by pack_patches, for panels of two vectors
  int64_t ahead = 0;    ///< what lies so far behind the patches is wanted next; 0: nothing
  const real* dy = nullptr;
  int64_t dy_step = 0;
};

/// Adds to dw[k * dw_step + co], co in whole vectors; one chain over the pixels in their order that starts
/// from what is there.
void correlate_gradient(const Patch&, const GradientPixels&, int vectors, real* dw, int64_t dw_step);

/// Copies `elems` elements from patches[i] + first to `to` such that what the blocks of correlate_gradient
/// read lies side by side; packed[i] become pointers to the copies. Worth it where patches are read often.
void pack_patches(int64_t elems, int64_t first, int64_t count, const real* const* patches, real* to,
                  const real** packed);
/// Elements of `to` for each pixel.
int64_t packed_patch_elems(int64_t elems);

/// to[r * width + c] = from[r * from_step + c] for r < rows, c < columns, and 0 for columns <= c < width.
void copy_columns(const real* from, int64_t rows, int64_t columns, int64_t from_step, real* to,
                  int64_t width);

/// to[c * to_step + r] = from[r * from_step + c] for r < rows, c < columns.
void transpose(const real* from, int64_t rows, int64_t columns, int64_t from_step, real* to, int64_t to_step);

}  // namespace mbs
