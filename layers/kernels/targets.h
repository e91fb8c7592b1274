// The instruction sets that vector kernels are compiled for: AVX-512 and AVX2, NEON, and whatever the
// compiler's baseline is. To be included before any header of Highway.
//
// The others would double the time to compile and win nothing: SSE4 serves processors from before 2013, and
// the larger AVX-512 set has no instruction that these kernels use. Vectors of unknown length (SVE, RVV)
// cannot stand in arrays, and register blocks are arrays.
#pragma once

#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE_256 | HWY_SVE2 | HWY_SVE2_128 | HWY_RVV)

#include <hwy/targets.h>  // IWYU pragma: export
