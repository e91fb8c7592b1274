// Augmentation: crops, borders, mirroring, cutout.
#include <algorithm>
#include <cstdlib>

#include "datasets/augment.h"
#include "tests/doctest.h"
#include "tests/helpers.h"
#include "tests/noise_dataset.h"

using namespace mbs;

namespace {

/// The image shifted by (dy, dx) and perhaps mirrored, pixel by pixel.
std::vector<real> naive(const Dataset& data, int index, const PixelTable& table, int dy, int dx, bool flip) {
  const Shape s = data.shape;
  std::vector<real> out;
  for (int y = 0; y < s.h; ++y) {
    for (int x = 0; x < s.w; ++x) {
      const int sy = y + dy, sx = (flip ? s.w - 1 - x : x) + dx;
      for (int c = 0; c < s.c; ++c) {
        const bool inside = sy >= 0 && sy < s.h && sx >= 0 && sx < s.w;
        const int v = inside ? data.image(index)[static_cast<size_t>((sy * s.w + sx) * s.c + c)] : 0;
        out.push_back(table[static_cast<size_t>(c)][static_cast<size_t>(v)]);
      }
    }
  }
  return out;
}

}  // namespace

TEST_CASE("no augmentation: the image, normalised") {
  const Dataset data = noise_dataset(3, {5, 7, 3}, 3);
  const PixelTable table = plain_table(3, -3);
  for (int i = 0; i < 3; ++i)
    EXPECT(write(data, {1, 2, i}, table, kNoAugmentation) == naive(data, i, table, 0, 0, false));
}

TEST_CASE("crop and flip: one of the images that can be, each as often") {
  for (const int channels : {1, 3}) {
    const Dataset data = noise_dataset(2, {5, 7, channels}, 2);
    const PixelTable table = plain_table(channels, -3);  // black is -3, not the mean
    const Augmentation augmentation{.pad = 2, .flip = true, .cutout = 0};
    std::vector<int> seen(5 * 5 * 2, 0);
    const int draws = 3000;
    for (int epoch = 0; epoch < draws; ++epoch) {
      const std::vector<real> out = write(data, {7, epoch, 1}, table, augmentation);
      int matches = 0;
      for (int k = 0; k < 50; ++k) {
        const int dy = k / 10 - 2, dx = k / 2 % 5 - 2;
        // One row in the middle tells most apart cheaply; the naive image decides.
        if (out != naive(data, 1, table, dy, dx, k % 2 == 1)) continue;
        ++seen[static_cast<size_t>(k)];
        ++matches;
      }
      REQUIRE(matches == 1);
      if (epoch == 200 && channels == 1) break;
    }
    if (channels == 1) continue;
    // 60 of each expected, deviation 7.7; five of them.
    for (const int n : seen) EXPECT(std::abs(n - draws / 50) < 39);
  }
}

TEST_CASE("a mirrored border repeats no pixel of the edge") {
  // Pixel (y, x) is 10 y + x, so that a crop tells where it was taken.
  Dataset data = noise_dataset(1, {7, 7, 1}, 1);
  for (int y = 0; y < 7; ++y)
    for (int x = 0; x < 7; ++x)
      data.pixels[static_cast<size_t>(y * 7 + x)] = static_cast<uint8_t>(10 * y + x);
  const PixelTable table = plain_table(1, 0);
  const int bordered[] = {4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2};
  std::vector<int> seen(9 * 9, 0);
  for (int epoch = 0; epoch < 2000; ++epoch) {
    const auto out =
        write(data, {3, epoch, 0}, table, {.pad = 4, .flip = false, .pad_mode = PadMode::reflect});
    int matches = 0;
    for (int k = 0; k < 81; ++k) {
      const int top = k / 9, left = k % 9;
      bool same = true;
      for (int y = 0; y < 7 && same; ++y)
        for (int x = 0; x < 7 && same; ++x)
          same = out[static_cast<size_t>(y * 7 + x)] ==
                 static_cast<real>(10 * bordered[top + y] + bordered[left + x]);
      if (same) ++matches, ++seen[static_cast<size_t>(k)];
    }
    REQUIRE(matches == 1);
  }
  for (const int n : seen) EXPECT(n > 0);
}

TEST_CASE("augmentation is a function of seed, epoch and index") {
  const Dataset data = noise_dataset(4, {9, 9, 1}, 2);
  const PixelTable table = plain_table(1, 0);
  const Augmentation augmentation{.pad = 4, .flip = true, .cutout = 3};
  const auto out = [&](uint64_t seed, int64_t epoch) {
    std::vector<real> all;
    for (int i = 0; i < 4; ++i) {
      const auto one = write(data, {seed, epoch, i}, table, augmentation);
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  };
  EXPECT(out(1, 2) == out(1, 2));
  EXPECT(out(1, 2) != out(1, 3));
  EXPECT(out(1, 2) != out(2, 2));
  Dataset same = data;
  std::copy_n(same.pixels.begin(), 81, same.pixels.begin() + 81);
  EXPECT(write(same, {1, 2, 0}, table, augmentation) != write(same, {1, 2, 1}, table, augmentation));
}

TEST_CASE("cutout: a square of the mean, cut off at the edges") {
  Dataset data = noise_dataset(1, {8, 11, 2}, 1);
  const PixelTable table = plain_table(2, 1);  // no pixel is 0 but those of the hole
  bool cut_off = false, whole = false;
  for (int epoch = 0; epoch < 200; ++epoch) {
    const auto out = write(data, {1, epoch, 0}, table, {.pad = 0, .flip = false, .cutout = 5});
    const auto original = naive(data, 0, table, 0, 0, false);
    int y0 = 8, y1 = -1, x0 = 11, x1 = -1, zeros = 0;
    for (int i = 0; i < 8 * 11; ++i) {
      const size_t at = 2 * static_cast<size_t>(i);
      REQUIRE((out[at] == 0) == (out[at + 1] == 0));
      if (out[at] != 0) {
        REQUIRE(out[at] == original[at]);
        continue;
      }
      ++zeros;
      y0 = std::min(y0, i / 11), y1 = std::max(y1, i / 11), x0 = std::min(x0, i % 11),
      x1 = std::max(x1, i % 11);
    }
    const int h = y1 - y0 + 1, w = x1 - x0 + 1;
    REQUIRE(zeros == h * w);
    // The centre is a pixel of the image, so at least 3 of the 5 rows and columns are inside.
    REQUIRE((h >= 3 && h <= 5 && w >= 3 && w <= 5));
    REQUIRE((h == 5 || y0 == 0 || y1 == 7));
    REQUIRE((w == 5 || x0 == 0 || x1 == 10));
    (zeros == 25 ? whole : cut_off) = true;
  }
  EXPECT(whole);
  EXPECT(cut_off);
}

TEST_CASE("augmentation that cannot be") {
  EXPECT(has(error_of([] { validate({.pad = -1}, {32, 32, 3}); }), {"usage", "--pad -1"}));
  EXPECT(has(error_of([] { validate({.pad = 9}, {8, 32, 3}); }), {"usage", "--pad 9", "8x32"}));
  EXPECT(error_of([] { validate({.pad = 8}, {8, 32, 3}); }).empty());
  EXPECT(has(error_of([] {
               validate({.pad = 8, .pad_mode = PadMode::reflect}, {8, 32, 3});
             }),
             {"usage", "--pad 8", "0 to 7"}));
  EXPECT(has(error_of([] { validate({.cutout = -2}, {32, 32, 3}); }), {"usage", "--cutout -2"}));
  EXPECT(error_of([] { validate({}, {32, 32, 3}); }).empty());
}
