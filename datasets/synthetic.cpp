#include <algorithm>
#include <array>
#include <cmath>

#include "datasets/readers.h"
#include "engine/check.h"
#include "engine/random.h"

namespace mbs {

namespace {

constexpr int kClasses = 10;

/// Distance of (x, y) to the edge of a shape of radius 1 around the origin, negative inside.
double distance(int shape, double x, double y) {
  const double ax = std::abs(x), ay = std::abs(y);
  const auto box = [&](double w, double h) { return std::max(ax - w, ay - h); };
  switch (shape) {
    case 0:
      return std::sqrt(x * x + y * y) - 1;  // disc
    case 1:
      return box(0.85, 0.85);  // square
    case 2:
      return (ax + ay - 1.2) * 0.7071;  // diamond
    case 3:
      return std::max(y - 0.7, 0.866 * ax - 0.5 * y - 0.5);  // triangle
    default:
      return std::min(box(0.35, 1), box(1, 0.35));  // cross
  }
}

/// Values 0 to 9 of `random` place and colour the image, the rest is noise.
void draw(int label, const Random& random, int size, uint8_t* out) {
  const double radius = size * (0.22 + 0.13 * random.uniform(0));
  const double cx = size * (0.4 + 0.2 * random.uniform(1)), cy = size * (0.4 + 0.2 * random.uniform(2));
  std::array<double, 3> ground{}, colour{};
  for (size_t c = 0; c < 3; ++c) {
    ground[c] = 20 + 100 * random.uniform(3 + c);
    colour[c] = ground[c] + 60 + 60 * random.uniform(6 + c);
  }
  if (random.below(9, 2) == 1) std::swap(ground, colour);
  uint64_t draws = 10;
  for (int y = 0; y < size; ++y) {
    for (int x = 0; x < size; ++x) {
      double edge = distance(label / 2, (x + 0.5 - cx) / radius, (y + 0.5 - cy) / radius);
      if (label % 2 == 1) edge = std::abs(edge + 0.17) - 0.17;  // an outline, a sixth of the diameter wide
      const double cover = std::clamp(0.5 - edge * radius, 0.0, 1.0);
      for (size_t c = 0; c < 3; ++c) {
        const double noise = 24 * (random.uniform(draws++) - 0.5);
        *out++ =
            static_cast<uint8_t>(std::clamp(ground[c] + cover * (colour[c] - ground[c]) + noise, 0.0, 255.0));
      }
    }
  }
}

Dataset draw_part(int count, int size, uint64_t seed, uint64_t part) {
  Dataset data;
  data.shape = {size, size, 3};
  data.class_names = {"disc",     "ring",
                      "square",   "square outline",
                      "diamond",  "diamond outline",
                      "triangle", "triangle outline",
                      "cross",    "cross outline"};
  data.source = fmt::format("synthetic (seed {})", seed);
  data.pixels.resize(static_cast<size_t>(count) * static_cast<size_t>(data.shape.elems()));
  for (int i = 0; i < count; ++i) {
    data.labels.push_back(i % kClasses);
    draw(i % kClasses, Random(seed, Stream::synthetic, part, static_cast<uint64_t>(i)), size,
         data.pixels.data() + i * data.shape.elems());
  }
  return data;
}

}  // namespace

DataSplits draw_synthetic(int train, int test, int image_size, uint64_t seed) {
  if (train < 1 || test < 1)
    fail_usage("synthetic data of {} training and {} test images: expected 1 and more", train, test);
  if (image_size < 8) fail_usage("synthetic images of {0}x{0}: expected --image-size 8 or more", image_size);
  return {draw_part(train, image_size, seed, 0), draw_part(test, image_size, seed, 1), {}};
}

}  // namespace mbs
