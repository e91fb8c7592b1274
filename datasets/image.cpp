#include "datasets/image.h"

#include <stb/stb_image.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "engine/check.h"

namespace fs = std::filesystem;

namespace mbs {

namespace {

/// For each of `to` output positions: the first input position that counts, and the weights from there on.
struct Filter {
  struct Tap {
    int first;
    std::vector<float> weights;
  };
  std::vector<Tap> taps;
};

Filter triangle_filter(int from, int to) {
  const double scale = static_cast<double>(from) / to;
  const double reach = std::max(scale, 1.0);
  Filter filter;
  for (int i = 0; i < to; ++i) {
    const double centre = (i + 0.5) * scale;
    const int first = std::max(static_cast<int>(std::floor(centre - reach)), 0);
    const int last = std::min(static_cast<int>(std::ceil(centre + reach)), from);
    std::vector<double> weights;
    double sum = 0;
    for (int j = first; j < last; ++j) {
      weights.push_back(std::max(0.0, 1 - std::abs(j + 0.5 - centre) / reach));
      sum += weights.back();
    }
    Filter::Tap tap{first, {}};
    for (const double weight : weights) tap.weights.push_back(static_cast<float>(weight / sum));
    filter.taps.push_back(std::move(tap));
  }
  return filter;
}

/// Applies `filter` along one axis: `lines` runs of filter.taps.size() outputs; strides in elements.
void apply(const Filter& filter, const float* in, int64_t lines, int64_t in_line, int64_t in_step, float* out,
           int64_t out_line, int64_t out_step) {
  for (int64_t line = 0; line < lines; ++line) {
    for (size_t i = 0; i < filter.taps.size(); ++i) {
      const Filter::Tap& tap = filter.taps[i];
      for (int64_t c = 0; c < 3; ++c) {
        float sum = 0;
        const float* from = in + line * in_line + tap.first * in_step + c;
        for (size_t j = 0; j < tap.weights.size(); ++j)
          sum += tap.weights[j] * from[static_cast<int64_t>(j) * in_step];
        out[line * out_line + static_cast<int64_t>(i) * out_step + c] = sum;
      }
    }
  }
}

/// Part `alpha` of 255 of the value, the rest white.
uint8_t over_white(int value, int alpha) {
  return static_cast<uint8_t>((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

}  // namespace

bool is_image_name(const fs::path& path) {
  std::string end = path.extension().string();
  std::transform(end.begin(), end.end(), end.begin(), [](unsigned char c) { return std::tolower(c); });
  constexpr std::array kEnds = {".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp"};
  return std::find(kEnds.begin(), kEnds.end(), end) != kEnds.end();
}

Image decode_image(const fs::path& path) {
  int w = 0, h = 0, channels = 0;
  const std::unique_ptr<uint8_t, decltype(&stbi_image_free)> bytes(
      stbi_load(path.c_str(), &w, &h, &channels, 0), stbi_image_free);
  if (!bytes) {
    fail("{}: this image cannot be read: {}; replace or remove the file", path.string(),
         stbi_failure_reason());
  }
  Image image{{h, w, 3}, std::vector<uint8_t>(static_cast<size_t>(h) * static_cast<size_t>(w) * 3)};
  const bool grey = channels < 3, transparent = channels % 2 == 0;
  const uint8_t* in = bytes.get();
  for (size_t i = 0; i < image.pixels.size(); i += 3, in += channels) {
    const int alpha = transparent ? in[channels - 1] : 255;
    for (size_t c = 0; c < 3; ++c) image.pixels[i + c] = over_white(in[grey ? 0 : c], alpha);
  }
  return image;
}

std::vector<uint8_t> resize_image(const Image& image, int h, int w) {
  const Shape& shape = image.shape;
  if (shape.h == h && shape.w == w) return image.pixels;
  const std::vector<float> in(image.pixels.begin(), image.pixels.end());
  std::vector<float> narrow(static_cast<size_t>(shape.h) * static_cast<size_t>(w) * 3);
  std::vector<float> small(static_cast<size_t>(h) * static_cast<size_t>(w) * 3);
  apply(triangle_filter(shape.w, w), in.data(), shape.h, int64_t{shape.w} * 3, 3, narrow.data(),
        int64_t{w} * 3, 3);
  apply(triangle_filter(shape.h, h), narrow.data(), w, 3, int64_t{w} * 3, small.data(), 3, int64_t{w} * 3);
  std::vector<uint8_t> pixels(small.size());
  std::transform(small.begin(), small.end(), pixels.begin(),
                 [](float v) { return static_cast<uint8_t>(std::clamp(v + 0.5f, 0.0f, 255.0f)); });
  return pixels;
}

std::vector<uint8_t> load_image(const fs::path& path, const Shape& shape, int border) {
  CHECK(shape.c == 1 || shape.c == 3, "images have 1 or 3 channels, not {}", shape.c);
  CHECK(border >= 0 && 2 * border < std::min(shape.h, shape.w), "border {}", border);
  const int h = shape.h - 2 * border, w = shape.w - 2 * border;
  const std::vector<uint8_t> colour = resize_image(decode_image(path), h, w);
  std::vector<uint8_t> pixels(static_cast<size_t>(shape.elems()), 0);
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      const uint8_t* from = colour.data() + (int64_t{y} * w + x) * 3;
      uint8_t* to = pixels.data() + (int64_t{y + border} * shape.w + x + border) * shape.c;
      if (shape.c == 3) {
        std::copy_n(from, 3, to);
      } else {
        to[0] = static_cast<uint8_t>((299 * from[0] + 587 * from[1] + 114 * from[2] + 500) / 1000);
      }
    }
  }
  return pixels;
}

}  // namespace mbs
