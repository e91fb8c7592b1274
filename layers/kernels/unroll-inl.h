// Loops over registers. Included once per instruction set by the kernels' files.

#if defined(MBS_LAYERS_KERNELS_UNROLL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MBS_LAYERS_KERNELS_UNROLL_INL_H_
#undef MBS_LAYERS_KERNELS_UNROLL_INL_H_
#else
#define MBS_LAYERS_KERNELS_UNROLL_INL_H_
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

template <int... I, class F>
HWY_INLINE void unroll(std::integer_sequence<int, I...>, F&& f) {
  (f(std::integral_constant<int, I>()), ...);
}

}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#endif
