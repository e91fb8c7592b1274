// Loops that reach the two limits of a machine: its fused multiply-adds per second, and its bytes per second
// at every level of the memory system. What kernels do is measured against them (`mbs bench`).
#pragma once

#include <cstdint>

#include "engine/real.h"

namespace mbs {

/// `rounds` times fma_round_flops() operations in registers, in chains that are independent enough to keep
/// all units busy. x and y are what is multiplied; the value depends on every operation.
real fma_rounds(int64_t rounds, real x, real y);
/// Floating-point operations of a round; a fused multiply-add is two.
int64_t fma_round_flops();

/// Reads n elements `times` times; n is rounded down to whole rounds of eight vectors. Returns their sum.
real read_array(const real* p, int64_t n, int64_t times);

/// to = from + offset, `times` times: reads n elements and writes n elements with plain stores. (The addition
/// keeps the compiler from calling memcpy, which is no loop of ours.) `n`: as for read_array.
void copy_array(const real* from, real* to, real offset, int64_t n, int64_t times);

}  // namespace mbs
