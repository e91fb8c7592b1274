// Blocks of registers. Included once per instruction set by the kernels' files.

#if defined(MBS_LAYERS_KERNELS_REGISTERS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MBS_LAYERS_KERNELS_REGISTERS_INL_H_
#undef MBS_LAYERS_KERNELS_REGISTERS_INL_H_
#else
#define MBS_LAYERS_KERNELS_REGISTERS_INL_H_
#endif

#include <hwy/highway.h>

#include <type_traits>
#include <utility>

// Loops over registers are unrolled by templates: GCC 12 may leave an array that is indexed by a loop
// variable in memory, at a quarter of the speed.
#undef UNROLL
#define UNROLL(n, i, ...) unroll(std::make_integer_sequence<int, n>(), [&](auto i) HWY_ATTR { __VA_ARGS__ })

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {

// Accumulators of a register block. 32 registers: 28 and the operands; 16 registers: 12. The fallback without
// vector registers, and the code for a sanitizer, get few: larger blocks would take minutes to compile. The
// number of accumulators changes no bit of a result.
#if defined(__SANITIZE_ADDRESS__)
constexpr int kAccumulators = 4;
#elif HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
constexpr int kAccumulators = 28;
#else
constexpr int kAccumulators = HWY_TARGET == HWY_AVX2 ? 12 : 4;
#endif

template <int... I, class F>
HWY_INLINE void unroll(std::integer_sequence<int, I...>, F&& f) {
  (f(std::integral_constant<int, I>()), ...);
}

}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#endif
