// Shapes of one sample. The number of samples is never part of a shape: the schedule decides it.
#pragma once

#include <cstdint>

namespace mbs {

/// One sample of a tensor, channels last: element (h, w, c) lies at (h * width + w) * channels + c.
struct Shape {
  int h = 1, w = 1, c = 1;

  int64_t pixels() const { return int64_t{h} * w; }
  int64_t elems() const { return pixels() * c; }
  bool operator==(const Shape&) const = default;
};

}  // namespace mbs
