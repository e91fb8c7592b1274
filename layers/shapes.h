// What the constructors of layers share: checks of inputs, and the geometry of sliding windows.
#pragma once

#include <span>
#include <string>

#include "engine/shape.h"
#include "engine/spec.h"

namespace mbs {

/// "32x16x3": height, width, channels. Several shapes are parted by blanks, as in a layer's examples.
std::string to_text(std::span<const Shape> shapes);
inline std::string to_text(const Shape& shape) { return to_text(std::span(&shape, 1)); }

/// Error (usage) unless there are exactly `count` inputs; names the specification and the shapes.
void check_input_count(const Spec&, std::span<const Shape> in, size_t count);

/// A window that slides over an image padded by `pad` on every side.
struct Window {
  Extent kernel, stride, pad;
};

/// Positions of the window: floor((size + 2 pad - kernel) / stride) + 1 in each direction, with `channels`
/// channels. Error (usage): the window is larger than the padded image.
Shape window_shape(const Spec&, const Shape& in, const Window&, int channels);

/// The attributes `kernel` (required), `stride` (default: the kernel) and `pad` (default 0) of a pooling
/// layer. Error (usage): a padding that is not smaller than the kernel, so that a window could hold nothing
/// but padding.
Window pooling_window(const Spec&);

/// The part of a window at output position `out` that lies inside an image of `size`, along one direction:
/// taps [begin, end) of the kernel; tap t reads position first + t.
struct Taps {
  int first, begin, end;
};
inline Taps taps_inside(int out, int stride, int pad, int kernel, int size) {
  const int first = out * stride - pad;
  return {first, first < 0 ? -first : 0, first + kernel > size ? size - first : kernel};
}

}  // namespace mbs
