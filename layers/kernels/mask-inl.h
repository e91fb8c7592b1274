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

#include "layers/kernels/channels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {

// Highway may touch 8 bytes for the bits of a vector, more than a mask may have left.
constexpr size_t kBitBuffer = 8;

// Bytes of the bits of a vector; short ones share a byte with others.
template <class D>
constexpr size_t kMaskBytesOf = kLanesOf<D> < 8 ? 1 : static_cast<size_t>(kLanesOf<D> / 8);

// The place of a vector's bits: from bit `shift` of mask[byte] on. A vector of 8 lanes or more has shift 0, a
// shorter one a multiple of its lanes. Where there is no mask, `mask` may be null.
template <class Byte>
struct BitPlace {
  Byte* mask;
  int64_t byte, shift;
};

template <class Byte>
HWY_INLINE BitPlace<Byte> bit_place(Byte* mask, int64_t byte, int64_t bit) {
  return {mask, byte + (bit >> 3), bit & 7};
}

// Bit i says that lane i is true; there are none beyond the lanes.
template <class D>
HWY_INLINE uint64_t bits_of(D d, hn::Mask<D> lanes) {
  uint8_t buffer[kBitBuffer] = {};
  hn::StoreMaskBits(d, lanes, buffer);
  uint64_t bits = 0;
  std::memcpy(&bits, buffer, kMaskBytesOf<D>);
  return bits;
}

// The first vector of a byte clears the byte's other bits, later ones add theirs.
template <class D>
HWY_INLINE void store_bits(D d, hn::Mask<D> lanes, BitPlace<uint8_t> place) {
  const uint64_t bits = bits_of(d, lanes);
  uint8_t* byte = place.mask + place.byte;
  if constexpr (kLanesOf<D> >= 8)
    std::memcpy(byte, &bits, kMaskBytesOf<D>);
  else
    *byte = static_cast<uint8_t>((place.shift == 0 ? 0 : *byte) | bits << place.shift);
}

template <class D>
HWY_INLINE hn::Mask<D> load_bits(D d, BitPlace<const uint8_t> place) {
  uint8_t buffer[kBitBuffer] = {};
  std::memcpy(buffer, place.mask + place.byte, kMaskBytesOf<D>);
  if constexpr (kLanesOf<D> < 8)
    buffer[0] = static_cast<uint8_t>(buffer[0] >> place.shift & ((1 << kLanesOf<D>)-1));
  return hn::LoadMaskBits(d, buffer);
}

// What a ReLU lets through: what is not <= 0, so that NaN stays NaN.
template <class D>
HWY_INLINE hn::Mask<D> is_live(D d, hn::Vec<D> v) {
  return hn::Not(hn::Le(v, hn::Zero(d)));
}

// max(v, 0); `masked`: the bits of what is live are stored.
template <bool masked, class D>
HWY_INLINE hn::Vec<D> rectify(D d, hn::Vec<D> v, BitPlace<uint8_t> place) {
  const auto live = is_live(d, v);
  if constexpr (masked) store_bits(d, live, place);
  return hn::IfThenElseZero(live, v);
}

// The vector at dy; `masked`: 0 where its bit is not set.
template <bool masked, class D>
HWY_INLINE hn::Vec<D> live_gradient(D d, const real* dy, BitPlace<const uint8_t> place) {
  const hn::Vec<D> g = hn::LoadU(d, dy);
  if constexpr (masked)
    return hn::IfThenElseZero(load_bits(d, place), g);
  else
    return g;
}

}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#endif
