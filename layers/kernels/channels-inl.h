// Vectors over channels, for any number of channels. Included once per instruction set by the kernels' files.

#if defined(MBS_LAYERS_KERNELS_CHANNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MBS_LAYERS_KERNELS_CHANNELS_INL_H_
#undef MBS_LAYERS_KERNELS_CHANNELS_INL_H_
#else
#define MBS_LAYERS_KERNELS_CHANNELS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

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

}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#endif
