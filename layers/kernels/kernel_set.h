// Which kernels do the arithmetic of convolutions.
#pragma once

#include <cstdint>
#include <string_view>

namespace mbs {

/// The bits of a run depend on the set; within a set they depend on no split and on no thread.
enum class KernelSet : uint8_t {
  automatic,  ///< for each layer and direction whichever was measured to be faster
  direct,     ///< vector kernels of ours, the sums as the definition has them
  winograd,   ///< direct, but Winograd's algorithm wherever it applies
  gemm,       ///< im2col and OpenBLAS, one sample at a time
};

/// The set that layers made from now on use; set it before a network is made. Default: automatic.
void set_kernel_set(KernelSet);
KernelSet kernel_set();

/// "automatic", "direct", "winograd" or "gemm"; Error (usage): another word.
KernelSet parse_kernel_set(std::string_view text);
std::string_view to_string(KernelSet);

}  // namespace mbs
