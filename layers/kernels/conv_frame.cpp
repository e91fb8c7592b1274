#include "layers/kernels/conv_frame.h"

namespace mbs {

int64_t Frame::scratch_elems() const {
  const int64_t lines = (elems() * samples_per_tile() + kMaxLanes - 1) / kMaxLanes;
  return bare() ? 0 : lines * kMaxLanes;
}

Frame input_frame(const ConvShape& s) {
  const auto after = [](int in, int out, int kernel, int stride, int pad) {
    return std::max(0, (out - 1) * stride + kernel - pad - in);
  };
  return {s.in, s.pad.h, after(s.in.h, s.out.h, s.kernel.h, s.stride.h, s.pad.h), s.pad.w,
          after(s.in.w, s.out.w, s.kernel.w, s.stride.w, s.pad.w)};
}

Patches input_patches(const ConvShape& s, const Frame& f) {
  Patches p;
  p.rows = s.out.h;
  p.cols = s.out.w;
  p.row_step = f.row_elems() * s.stride.h;
  p.col_step = int64_t{s.stride.w} * s.in.c;
  p.runs = s.kernel.h;
  p.run_step = f.row_elems();
  p.run_elems = int64_t{s.kernel.w} * s.in.c;
  if (s.pointwise()) {  // rows follow each other without a gap: one long row makes full register blocks
    p.rows = 1;
    p.cols *= s.out.h;
  }
  return p;
}

void zero_border(const Frame& f, real* framed) {
  const int64_t row = f.row_elems(), left = int64_t{f.left} * f.image.c, right = int64_t{f.right} * f.image.c;
  std::fill_n(framed, f.top * row, real{0});
  for (int h = 0; h < f.image.h; ++h) {
    real* begin = framed + (f.top + h) * row;
    std::fill_n(begin, left, real{0});
    std::fill_n(begin + row - right, right, real{0});
  }
  std::fill_n(framed + (f.top + f.image.h) * row, f.bottom * row, real{0});
}

void copy_inside(const Frame& f, const real* image, real* framed) {
  const int64_t row = f.row_elems(), width = int64_t{f.image.w} * f.image.c;
  for (int h = 0; h < f.image.h; ++h)
    std::copy_n(image + h * width, width, framed + (f.top + h) * row + int64_t{f.left} * f.image.c);
}

real* align_scratch(real* p) {
  constexpr uintptr_t kLine = 64;
  return reinterpret_cast<real*>((reinterpret_cast<uintptr_t>(p) + kLine - 1) / kLine * kLine);
}

}  // namespace mbs
