#include "layers/kernels/kernel_set.h"

#include <array>
#include <atomic>

#include "engine/check.h"

namespace mbs {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"automatic", "direct", "winograd", "gemm"};
std::atomic<KernelSet> current{KernelSet::automatic};

}  // namespace

void set_kernel_set(KernelSet set) { current = set; }
KernelSet kernel_set() { return current; }

KernelSet parse_kernel_set(std::string_view text) {
  for (size_t i = 0; i < kNames.size(); ++i)
    if (text == kNames[i]) return static_cast<KernelSet>(i);
  fail_usage("kernel set '{}' is none of automatic, direct, winograd, gemm", text);
}

std::string_view to_string(KernelSet set) { return kNames[static_cast<size_t>(set)]; }

}  // namespace mbs
