#include <algorithm>

#include "layers/kernels/conv.h"
#include "layers/kernels/conv_winograd.h"
#include "layers/kernels/kernel_set.h"

namespace mbs {

void add_rows(int64_t rows, int channels, const real* m, real* sums) {
  for (int64_t r = 0; r < rows; ++r, m += channels)
    for (int c = 0; c < channels; ++c) sums[c] += m[c];
}

namespace {

/// Tiles of 4x4 have the fewest multiplications, but not where most of a tile is outside of the image.
int tile_size(const ConvShape& s) { return std::max(s.out.h, s.out.w) > 2 ? 4 : 2; }

/// Winograd wins where enough of the tiles' pixels are outputs. With 14x14 images (a little over three
/// quarters) it wins up to 256 channels, as in ResNet-50; from 512 on, its weights come from DRAM, and four
/// copies of them, four times as large as the weights, cost more memory than the time is worth.
bool fills_its_tiles(const ConvShape& s) {
  constexpr int64_t kManyWeights = 256 * 256;
  const auto whole = [m = tile_size(s)](int pixels) { return (pixels + m - 1) / m * m; };
  const double outputs = static_cast<double>(s.out.h * s.out.w) / (whole(s.out.h) * whole(s.out.w));
  return outputs >= (int64_t{s.in.c} * s.out.c <= kManyWeights ? 0.75 : 0.8);
}

}  // namespace

ConvKernels choose_conv_kernels(const ConvShape& s) {
  const KernelSet set = kernel_set();
  if (set == KernelSet::gemm) return kGemmConv;
  const bool fits = set != KernelSet::direct && winograd_fits(s);
  if (fits && (set == KernelSet::winograd || fills_its_tiles(s)))
    return tile_size(s) == 4 ? kWinogradConv4 : kWinogradConv2;
  ConvKernels kernels = kDirectConv;
  // The one case that OpenBLAS does faster, by a tenth to a quarter: long patches without any overlap.
  constexpr int kManyChannels = 1024;
  if (set == KernelSet::automatic && s.pointwise() && s.in.c >= kManyChannels)
    kernels.weight_gradient = kGemmConv.weight_gradient;
  return kernels;
}

}  // namespace mbs
