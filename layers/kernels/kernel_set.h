// Which kernels do the arithmetic of convolutions.
#pragma once

#include <cstdint>

#include "engine/words.h"

namespace mbs {

/// The bits of a run depend on the set; within a set they depend on no split and on no thread.
enum class KernelSet : uint8_t {
  automatic,  ///< for each layer and direction whichever was measured to be faster
  direct,     ///< vector kernels of ours, the sums as the definition has them
  winograd,   ///< direct, but Winograd's algorithm wherever it applies
  gemm,       ///< im2col and OpenBLAS, one sample at a time
};
constexpr auto words_of(KernelSet) { return EnumWords{"kernel set", "auto", "direct", "winograd", "gemm"}; }

/// The set that layers made from now on use; set it before a network is made. Default: automatic.
void set_kernel_set(KernelSet);
KernelSet kernel_set();

}  // namespace mbs
