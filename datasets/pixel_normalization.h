// Mean and deviation of each channel, and the table that turns a byte into a normalised value.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "datasets/dataset.h"
#include "engine/real.h"

namespace mbs {

/// Per channel, of pixels / 255. A network sees (pixel / 255 - mean) / stddev.
struct Normalization {
  std::vector<double> mean, stddev;
  bool operator==(const Normalization&) const = default;
};

/// Population mean and standard deviation over all pixels of the given images (sums are exact integers, so
/// the order of the indices does not matter). A channel that is constant gets stddev 1.
Normalization compute_normalization(const Dataset&, std::span<const int> indices);

/// [channel][byte] -> normalised value, computed in double and rounded once.
using PixelTable = std::vector<std::array<real, 256>>;
PixelTable pixel_table(const Normalization&);

/// Normalises one image: pixels and out are `table.size()` channels interleaved.
void normalize(std::span<const uint8_t> pixels, const PixelTable&, real* out);

}  // namespace mbs
