// What direct convolution does before its inner loops: images get a border of zeros, and the work is cut into
// tiles that stay in cache.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/real.h"
#include "engine/shape.h"
#include "layers/kernels/conv.h"
#include "layers/kernels/conv_simd.h"

namespace mbs {

/// What one tile may hold of images: half of a second-level cache of 1 MiB, the rest is for weights.
inline constexpr int64_t kTileElems = 512 * 1024 / int64_t{sizeof(real)};

/// An image with a border of zeros.
struct Frame {
  Shape image;
  int top = 0, bottom = 0, left = 0, right = 0;

  bool bare() const { return top + bottom + left + right == 0; }
  int64_t row_elems() const { return (int64_t{left} + image.w + right) * image.c; }
  int64_t elems() const { return row_elems() * (top + image.h + bottom); }
  /// A tile is a group of samples, up to eight: each panel of weights is packed and used for all of them.
  /// Small images come with many weights, so a tile has enough pixels to pay for the packing even if it
  /// overflows.
  int samples_per_tile() const {
    constexpr int64_t kEnoughPixels = 256;
    return static_cast<int>(
        std::clamp<int64_t>(std::max(kTileElems / elems(), kEnoughPixels / image.pixels()), 1, 8));
  }
  /// Scratch space for the framed images of a tile.
  int64_t scratch_elems() const;
};

/// The frame of x in the forward pass and in the weight gradient.
Frame input_frame(const ConvShape&);

/// The patches that all outputs of a convolution read in a framed input.
Patches input_patches(const ConvShape&, const Frame&);

void zero_border(const Frame&, real* framed);
void copy_inside(const Frame&, const real* image, real* framed);

/// The first address from `p` on that is a multiple of a cache line; kAlignSlack elements may be skipped.
real* align_scratch(real* p);
inline constexpr int64_t kAlignSlack = 64 / int64_t{sizeof(real)};

/// Calls body(first sample, samples, framed images) for one tile after the other. `scratch`:
/// Frame::scratch_elems(). Without a border the images are used where they are.
template <class Body>
void for_each_tile(const Frame& f, int samples, const real* images, real* scratch, Body&& body) {
  const int per_tile = f.samples_per_tile();
  if (!f.bare())
    for (int i = 0; i < std::min(per_tile, samples); ++i) zero_border(f, scratch + i * f.elems());
  for (int first = 0; first < samples; first += per_tile) {
    const int count = std::min(per_tile, samples - first);
    const real* tile = images + first * f.image.elems();
    if (!f.bare()) {
      for (int i = 0; i < count; ++i) copy_inside(f, tile + i * f.image.elems(), scratch + i * f.elems());
      tile = scratch;
    }
    body(first, count, tile);
  }
}

}  // namespace mbs
