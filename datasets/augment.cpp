#include "datasets/augment.h"

#include <algorithm>

#include "engine/check.h"
#include "engine/random.h"

namespace mbs {

namespace {

/// What happens to one image.
struct Changes {
  int dy = 0,
      dx = 0;  // pixel (y, x) of the result shows pixel (y + dy, x + dx) of the image, black outside it
  bool flip = false;  // applied to the result of the crop
  int hole_y = 0, hole_x = 0;
};

Changes draw_changes(const Augmentation& augmentation, const Shape& shape, const SampleKey& key) {
  const auto random = [&](Stream stream) {
    return Random(key.seed, stream, static_cast<uint64_t>(key.epoch), static_cast<uint64_t>(key.index));
  };
  Changes changes;
  if (augmentation.pad > 0) {
    const uint64_t positions = 2 * static_cast<uint64_t>(augmentation.pad) + 1;
    changes.dy = static_cast<int>(random(Stream::crop).below(0, positions)) - augmentation.pad;
    changes.dx = static_cast<int>(random(Stream::crop).below(1, positions)) - augmentation.pad;
  }
  if (augmentation.flip) changes.flip = random(Stream::flip).below(0, 2) == 1;
  if (augmentation.cutout > 0) {
    const int half = augmentation.cutout / 2;
    changes.hole_y = static_cast<int>(random(Stream::cutout).below(0, static_cast<uint64_t>(shape.h))) - half;
    changes.hole_x = static_cast<int>(random(Stream::cutout).below(1, static_cast<uint64_t>(shape.w))) - half;
  }
  return changes;
}

void fill_black(const PixelTable& table, int pixels, real* out) {
  for (int i = 0; i < pixels; ++i) {
    for (const auto& values : table) *out++ = values[0];
  }
}

/// The row or column of an image of `size` that a mirrored border shows at `i`.
int reflected(int i, int size) {
  if (i < 0) return -i;
  return i < size ? i : 2 * (size - 1) - i;
}

void cut_out(const Shape& shape, const Changes& changes, int size, real* out) {
  const int y0 = std::max(changes.hole_y, 0), y1 = std::min(changes.hole_y + size, shape.h);
  const int x0 = std::max(changes.hole_x, 0), x1 = std::min(changes.hole_x + size, shape.w);
  for (int y = y0; y < y1; ++y) {
    real* row = out + int64_t{y} * shape.w * shape.c;
    std::fill(row + x0 * shape.c, row + x1 * shape.c, real{0});
  }
}

}  // namespace

void mirror_row(int width, int channels, real* row) {
  for (int a = 0, b = width - 1; a < b; ++a, --b) {
    std::swap_ranges(row + a * channels, row + (a + 1) * channels, row + b * channels);
  }
}

void validate(const Augmentation& augmentation, const Shape& shape) {
  const int mirrored = augmentation.pad_mode == PadMode::reflect ? 1 : 0;
  const int most = std::max(0, std::min(shape.h, shape.w) - mirrored);
  if (augmentation.pad < 0 || augmentation.pad > most)
    fail_usage("--pad {} does not fit images of {}x{}: expected 0 to {}", augmentation.pad, shape.h, shape.w,
               most);
  if (augmentation.cutout < 0) fail_usage("--cutout {} is negative", augmentation.cutout);
}

void write_sample(const Dataset& data, const SampleKey& key, const PixelTable& table,
                  const Augmentation& augmentation, real* out) {
  const Shape& shape = data.shape;
  const std::span<const uint8_t> image = data.image(key.index);
  const Changes changes = draw_changes(augmentation, shape, key);
  const bool mirrored = augmentation.pad_mode == PadMode::reflect;
  // Columns [x0, x1) of the result come from the image.
  const int x0 = std::clamp(-changes.dx, 0, shape.w), x1 = std::clamp(shape.w - changes.dx, 0, shape.w);
  for (int y = 0; y < shape.h; ++y) {
    real* row = out + int64_t{y} * shape.w * shape.c;
    const int from = mirrored ? reflected(y + changes.dy, shape.h) : y + changes.dy;
    if (from < 0 || from >= shape.h) {
      fill_black(table, shape.w, row);
      continue;
    }
    // Pixels [begin, end) of the result show those of the image from column `column` on.
    const auto copy = [&](int begin, int end, int column) {
      const auto first = static_cast<size_t>((from * shape.w + column) * shape.c);
      normalize(image.subspan(first, static_cast<size_t>((end - begin) * shape.c)), table,
                row + begin * shape.c);
    };
    const auto border = [&](int begin, int end) {
      if (!mirrored) return fill_black(table, end - begin, row + begin * shape.c);
      for (int x = begin; x < end; ++x) copy(x, x + 1, reflected(x + changes.dx, shape.w));
    };
    border(0, x0);
    copy(x0, x1, x0 + changes.dx);
    border(x1, shape.w);
    if (changes.flip) mirror_row(shape.w, shape.c, row);
  }
  if (augmentation.cutout > 0) cut_out(shape, changes, augmentation.cutout, out);
}

}  // namespace mbs
