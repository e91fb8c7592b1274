#include "layers/kernels/kernel_set.h"

#include <atomic>

namespace mbs {
namespace {

std::atomic<KernelSet> current{KernelSet::automatic};

}  // namespace

void set_kernel_set(KernelSet set) { current = set; }
KernelSet kernel_set() { return current; }

}  // namespace mbs
