// Vectors over channels, for any number of channels, one at a time or in tiles. Included once per instruction
// set by the kernels' files.

#if defined(MBS_LAYERS_KERNELS_CHANNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MBS_LAYERS_KERNELS_CHANNELS_INL_H_
#undef MBS_LAYERS_KERNELS_CHANNELS_INL_H_
#else
#define MBS_LAYERS_KERNELS_CHANNELS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <utility>

#include "engine/real.h"

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
constexpr int64_t kLanesOf = static_cast<int64_t>(hn::MaxLanes(D()));

// Calls body(tag, first channel) for vectors that cover [first, channels): whole ones while they fit, then
// halves, quarters, down to one channel. Every lane does the same arithmetic whatever the width, so results
// do not depend on it.
template <class D, class Body>
HWY_INLINE void for_channels(D d, int64_t first, int64_t channels, const Body& body) {
  for (; first + kLanesOf<D> <= channels; first += kLanesOf<D>) body(d, first);
  if constexpr (kLanesOf < D >> 1)
    if (first < channels) for_channels(hn::Half<D>(), first, channels, body);
}

template <class Body>
HWY_INLINE void for_channels(int64_t channels, const Body& body) {
  for_channels(hn::ScalableTag<real>(), 0, channels, body);
}

// A number of vectors side by side, as a type.
template <int n>
using Tile = std::make_integer_sequence<int, n>;

// Calls body(k) for each vector k of a tile. Written out by a template: GCC 12 may leave an array that is
// indexed by a loop variable in memory.
template <int... k, class Body>
HWY_INLINE void for_vectors(std::integer_sequence<int, k...>, const Body& body) {
  (body(k), ...);
}

// Calls body(tag, tile, first channel) for tiles that cover [0, channels): four vectors while they fit, then
// two, one, and parts of a vector.
template <class Body>
HWY_INLINE void for_tiles(int64_t channels, const Body& body) {
  constexpr hn::ScalableTag<real> d;
  constexpr int64_t kLanes = kLanesOf<decltype(d)>;
  int64_t c = 0;
  for (; c + 4 * kLanes <= channels; c += 4 * kLanes) body(d, Tile<4>(), c);
  if (c + 2 * kLanes <= channels) {
    body(d, Tile<2>(), c);
    c += 2 * kLanes;
  }
  for_channels(d, c, channels, [&](auto part, int64_t at) HWY_ATTR { body(part, Tile<1>(), at); });
}

}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#endif
