// The bits that a ReLU keeps of its input, one per element. Included once per instruction set by the kernels'
// files.

#if defined(MBS_LAYERS_KERNELS_MASK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MBS_LAYERS_KERNELS_MASK_INL_H_
#undef MBS_LAYERS_KERNELS_MASK_INL_H_
#else
#define MBS_LAYERS_KERNELS_MASK_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>
#include <utility>

#include "layers/kernels/channels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {

// Highway may touch 8 bytes for the bits of a vector, more than a mask may have left.
constexpr size_t kBitBuffer = 8;

// Bytes of the bits of a vector; short ones share a byte with others.
template <class D>
constexpr size_t kMaskBytesOf = kLanesOf<D> < 8 ? 1 : static_cast<size_t>(kLanesOf<D> / 8);

// Bit i says that lane i is true; there are none beyond the lanes.
template <class D>
HWY_INLINE uint64_t bits_of(D d, hn::Mask<D> lanes) {
  uint8_t buffer[kBitBuffer] = {};
  hn::StoreMaskBits(d, lanes, buffer);
  uint64_t bits = 0;
  std::memcpy(&bits, buffer, kMaskBytesOf<D>);
  return bits;
}

// The bits of the vectors of a tile: at most 64.
struct TileBits {
  uint64_t word = 0;
};

// max(v, 0) of vector k of a tile, whose bits say what a ReLU lets through: what is not <= 0, so that NaN
// stays NaN.
template <class D>
HWY_INLINE hn::Vec<D> rectify(D d, hn::Vec<D> v, int k, TileBits& bits) {
  const auto live = hn::Not(hn::Le(v, hn::Zero(d)));
  bits.word |= bits_of(d, live) << (k * kLanesOf<D>);
  return hn::IfThenElseZero(live, v);
}

// Stores the bits of a tile whose first element is `at`, in one store: a store for each vector costs as much
// as the data. Tiles that do not fill bytes share one: its first tile clears the others' bits, which they
// add.
template <class D, int... k>
HWY_INLINE void store_bits(D, std::integer_sequence<int, k...>, TileBits bits, uint8_t* mask, int64_t at) {
  constexpr int64_t count = sizeof...(k) * kLanesOf<D>;
  uint8_t* byte = mask + (at >> 3);
  if constexpr (count % 8 == 0)
    std::memcpy(byte, &bits.word, count / 8);
  else
    *byte = static_cast<uint8_t>(((at & 7) == 0 ? 0 : *byte) | bits.word << (at & 7));
}

// The bits of the vector whose first element is `at`. A vector of 8 lanes or more starts at a byte, a shorter
// one at a multiple of its lanes.
template <class D>
HWY_INLINE hn::Mask<D> load_bits(D d, const uint8_t* mask, int64_t at) {
  uint8_t buffer[kBitBuffer] = {};
  std::memcpy(buffer, mask + (at >> 3), kMaskBytesOf<D>);
  if constexpr (kLanesOf<D> < 8)
    buffer[0] = static_cast<uint8_t>(buffer[0] >> (at & 7) & ((1 << kLanesOf<D>)-1));
  return hn::LoadMaskBits(d, buffer);
}

// The vector at dy[at]; `masked`: 0 where its bit is not set.
template <bool masked, class D>
HWY_INLINE hn::Vec<D> live_gradient(D d, const real* dy, const uint8_t* mask, int64_t at) {
  const hn::Vec<D> g = hn::LoadU(d, dy + at);
  if constexpr (masked)
    return hn::IfThenElseZero(load_bits(d, mask, at), g);
  else
    return g;
}

}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#endif
