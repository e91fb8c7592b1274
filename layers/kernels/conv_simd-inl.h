// Register blocks of the convolution kernels. Included once per instruction set by the kernels' files.

#if defined(MBS_LAYERS_KERNELS_CONV_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MBS_LAYERS_KERNELS_CONV_SIMD_INL_H_
#undef MBS_LAYERS_KERNELS_CONV_SIMD_INL_H_
#else
#define MBS_LAYERS_KERNELS_CONV_SIMD_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <utility>

#include "layers/kernels/conv_simd.h"
#include "layers/kernels/registers-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<real, kMaxLanes>;
using V = hn::Vec<D>;
constexpr D d;
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(d));

// Loops over registers are unrolled by packs of indices: GCC 12 may leave an array that is indexed by a loop
// variable in memory, at a quarter of the speed. Lambdas in their place would take a minute to compile.
template <int... I>
using Pack = std::integer_sequence<int, I...>;
template <int n>
using Count = std::make_integer_sequence<int, n>;

// The sums of one pixel or of one row of dw.
template <int kVectors>
struct Sums {
  V v[kVectors];
};

template <int kVectors>
HWY_INLINE Sums<kVectors> load(const real* from) {
  if constexpr (kVectors == 1) return {{hn::LoadU(d, from)}};
  if constexpr (kVectors == 2) return {{hn::LoadU(d, from), hn::LoadU(d, from + kLanes)}};
}
template <int kVectors>
HWY_INLINE void store(const Sums<kVectors>& sums, real* to) {
  hn::StoreU(sums.v[0], d, to);
  if constexpr (kVectors == 2) hn::StoreU(sums.v[1], d, to + kLanes);
}
template <int kVectors>
HWY_INLINE void add_product(Sums<kVectors>& sums, real x, const Sums<kVectors>& w) {
  const V factor = hn::Set(d, x);
  sums.v[0] = hn::MulAdd(factor, w.v[0], sums.v[0]);
  if constexpr (kVectors == 2) sums.v[1] = hn::MulAdd(factor, w.v[1], sums.v[1]);
}

}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#endif
