// The two inner loops of direct convolution, with vectors over output channels. Everything is the same
// product of a matrix of patches, whose rows overlap in memory, and a panel of weights:
//
//   correlate            out[pixel][co]  = sum over k of patch(pixel)[k] * panel[k][co]
//   correlate_gradient   dw[k][co]      += sum over pixels of patch(pixel)[k] * dy[pixel][co]
//
// A patch is `runs` runs of `run_elems` consecutive values: a row of the kernel reads kernel width x c_in
// neighbours. A panel is a range of output channels as wide as one, two or four vectors.
#pragma once

#include <cstdint>

#include "engine/real.h"

namespace mbs {

/// Where patches lie. All steps are in elements.
struct Patches {
  int rows = 0, cols = 0;              ///< output pixels
  int64_t row_step = 0, col_step = 0;  ///< between the patches of neighbouring output pixels
  int runs = 0;
  int64_t run_step = 0, run_elems = 0;

  int64_t elems() const { return runs * run_elems; }
};

/// A grid of output pixels in memory; steps in elements.
template <class T>
struct Pixels {
  T* data = nullptr;  ///< first channel of the panel at the first pixel
  int64_t row_step = 0, col_step = 0;
};

/// Vectors of the next panel, 1, 2 or 4, where `channels` are left and output rows have `cols` pixels: the
/// widest whose last vector is used at least partly, four only where a row has too few pixels to keep the
/// registers busy.
int panel_vectors(int64_t channels, int64_t cols);
inline constexpr int64_t kMaxPanelVectors = 4;
/// Elements of one vector on this machine.
int64_t vector_lanes();
/// No machine has vectors of more elements; a bound for scratch space.
inline constexpr int64_t kMaxLanes = 64 / sizeof(real);

/// out = bias + the sum above, or out += it where `add`. `panel` is [patches.elems()][vectors * lanes];
/// `channels` of its columns are stored. `bias` may be null. The sum of an output is one chain of fused
/// multiply-adds in order of k.
void correlate(const Patches&, const real* image, const real* panel, int vectors, int64_t channels,
               const real* bias, bool add, const Pixels<real>& out);

/// Adds to dw[k * dw_step + co], co in whole vectors; one chain over samples, rows, columns that starts from
/// what is there. Sample i lies at image + i * image_step and dy.data + i * dy_step.
void correlate_gradient(const Patches&, int samples, const real* image, int64_t image_step,
                        const Pixels<const real>& dy, int64_t dy_step, int vectors, real* dw,
                        int64_t dw_step);

/// to[c * to_step + r] = from[r * from_step + c] for r < rows, c < columns.
void transpose(const real* from, int64_t rows, int64_t columns, int64_t from_step, real* to, int64_t to_step);

}  // namespace mbs
