// Convolution as matrix products, one sample at a time. `columns` is the sample's im2col matrix, [oh * ow][kh
// * kw * c_in]; for a pointwise convolution it is x itself.
//
//   forward          y[pixels][c_out]            = columns           w[taps * c_in][c_out]
//   data gradient    columns' gradient           = dy[pixels][c_out] w^T, then col2im adds it up in dx
//   weight gradient  dw[taps * c_in][c_out]     += columns^T         dy
#include <algorithm>

#include "engine/gemm.h"
#include "layers/kernels/conv.h"

namespace mbs {
namespace {

/// Calls visit(column, pixel) for every tap of every output pixel: `column` is the offset of its c_in values
/// in the im2col matrix, `pixel` their offset in the image, or -1 where the tap falls outside.
template <class Visit>
void for_each_tap(const ConvShape& s, Visit&& visit) {
  int64_t column = 0;
  for (int oh = 0; oh < s.out.h; ++oh)
    for (int ow = 0; ow < s.out.w; ++ow)
      for (int kh = 0; kh < s.kernel.h; ++kh)
        for (int kw = 0; kw < s.kernel.w; ++kw, column += s.in.c) {
          const int h = oh * s.stride.h - s.pad.h + kh, w = ow * s.stride.w - s.pad.w + kw;
          const bool inside = h >= 0 && h < s.in.h && w >= 0 && w < s.in.w;
          visit(column, inside ? (int64_t{h} * s.in.w + w) * s.in.c : -1);
        }
}

const real* im2col(const ConvShape& s, const real* x, real* columns) {
  if (s.pointwise()) return x;
  for_each_tap(s, [&](int64_t column, int64_t pixel) {
    if (pixel >= 0)
      std::copy_n(x + pixel, s.in.c, columns + column);
    else
      std::fill_n(columns + column, s.in.c, real{0});
  });
  return columns;
}

void col2im_add(const ConvShape& s, const real* columns, real* dx) {
  for_each_tap(s, [&](int64_t column, int64_t pixel) {
    if (pixel < 0) return;
    for (int c = 0; c < s.in.c; ++c) dx[pixel + c] += columns[column + c];
  });
}

int64_t columns_elems(const ConvShape& s) { return s.pointwise() ? 0 : s.out.pixels() * s.taps() * s.in.c; }

void forward(const ConvShape& s, const ConvArgs& a) {
  const int64_t pixels = s.out.pixels();
  for (int n = 0; n < a.samples; ++n) {
    real* y = a.out + n * s.out.elems();
    const real* columns = im2col(s, a.x + n * s.in.elems(), a.scratch);
    if (a.bias != nullptr)
      for (int64_t p = 0; p < pixels; ++p) std::copy_n(a.bias, s.out.c, y + p * s.out.c);
    gemm(Transpose::no, Transpose::no, pixels, s.out.c, s.taps() * s.in.c, columns, a.w,
         a.bias != nullptr ? 1 : 0, y);
  }
}

void data_gradient(const ConvShape& s, const ConvArgs& a) {
  const int64_t pixels = s.out.pixels(), k = s.taps() * s.in.c;
  for (int n = 0; n < a.samples; ++n) {
    real* dx = a.out + n * s.in.elems();
    const real* dy = a.dy + n * s.out.elems();
    if (s.pointwise()) {
      gemm(Transpose::no, Transpose::yes, pixels, k, s.out.c, dy, a.w, a.add ? 1 : 0, dx);
      continue;
    }
    gemm(Transpose::no, Transpose::yes, pixels, k, s.out.c, dy, a.w, 0, a.scratch);
    if (!a.add) std::fill_n(dx, s.in.elems(), real{0});
    col2im_add(s, a.scratch, dx);
  }
}

void weight_gradient(const ConvShape& s, const ConvArgs& a) {
  for (int n = 0; n < a.samples; ++n) {
    const real* columns = im2col(s, a.x + n * s.in.elems(), a.scratch);
    gemm(Transpose::yes, Transpose::no, s.taps() * s.in.c, s.out.c, s.out.pixels(), columns,
         a.dy + n * s.out.elems(), 1, a.out);
  }
}

}  // namespace

const ConvKernels kGemmConv = {
    {columns_elems, forward}, {columns_elems, data_gradient}, {columns_elems, weight_gradient}};

}  // namespace mbs
