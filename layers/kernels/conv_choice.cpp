#include <algorithm>

#include "layers/kernels/conv.h"
#include "layers/kernels/conv_winograd.h"
#include "layers/kernels/kernel_set.h"

namespace mbs {

void add_rows(int64_t rows, int channels, const real* m, real* sums) {
  for (int64_t r = 0; r < rows; ++r, m += channels)
    for (int c = 0; c < channels; ++c) sums[c] += m[c];
}

ConvKernels choose_conv_kernels(const ConvShape& s) {
  const KernelSet set = kernel_set();
  if (set == KernelSet::gemm) return kGemmConv;
  // Tiles of 4x4 have the fewest multiplications, but not where most of a tile is outside of the image.
  if (set != KernelSet::direct && winograd_fits(s))
    return std::max(s.out.h, s.out.w) > 2 ? kWinogradConv4 : kWinogradConv2;
  ConvKernels kernels = kDirectConv;
  // The one case that OpenBLAS does faster, by a tenth to a quarter: long patches without any overlap.
  constexpr int kManyChannels = 1024;
  if (set == KernelSet::automatic && s.pointwise() && s.in.c >= kManyChannels)
    kernels.weight_gradient = kGemmConv.weight_gradient;
  return kernels;
}

}  // namespace mbs
