#include "layers/kernels/conv_frame.h"

namespace mbs {

Frame input_frame(const ConvShape& s) {
  const int right = std::max(0, (s.out.w - 1) * s.stride.w + s.kernel.w - s.pad.w - s.in.w);
  return {s.in, s.pad.h, s.pad.w, right, s.out.h, s.stride.h, s.kernel.h};
}

Patch input_patch(const ConvShape& s, const Frame& f) {
  return {s.kernel.h, f.row_elems(), int64_t{s.kernel.w} * s.in.c};
}

Tile largest_tile(const Frame& f, int64_t cols, int64_t row_elems) {
  constexpr int64_t kTileElems = 512 * 1024 / int64_t{sizeof(real)}, kEnoughPixels = 256;
  const int64_t wanted = std::max(kTileElems / row_elems, (kEnoughPixels + cols - 1) / cols);
  if (wanted >= f.rows) return {0, static_cast<int>(wanted / f.rows), 0, f.rows};
  return {0, 1, 0, static_cast<int>(wanted)};
}

int64_t frame_scratch(const Frame& f, const Tile& largest) {
  if (f.bare()) return 0;
  const int64_t lines =
      (largest.samples * f.rows_read(largest.rows) * f.row_elems() + kMaxLanes - 1) / kMaxLanes;
  return lines * kMaxLanes;
}

void fill_frame(const Frame& f, const Tile& tile, const real* images, real* framed) {
  const int64_t row = f.row_elems(), left = int64_t{f.left} * f.image.c, right = int64_t{f.right} * f.image.c;
  const int64_t width = int64_t{f.image.w} * f.image.c, first = int64_t{tile.row} * f.step - f.top;
  for (int i = 0; i < tile.samples; ++i) {
    const real* image = images + (tile.first + i) * f.image.elems();
    for (int64_t h = first; h < first + f.rows_read(tile.rows); ++h, framed += row) {
      if (h < 0 || h >= f.image.h) {
        std::fill_n(framed, row, real{0});
        continue;
      }
      std::fill_n(framed, left, real{0});
      std::copy_n(image + h * width, width, framed + left);
      std::fill_n(framed + left + width, right, real{0});
    }
  }
}

real* align_scratch(real* p) {
  constexpr uintptr_t kLine = 64;
  return reinterpret_cast<real*>((reinterpret_cast<uintptr_t>(p) + kLine - 1) / kLine * kLine);
}

}  // namespace mbs
