#include "layers/kernels/conv_reference.h"

#include <algorithm>

namespace mbs {
namespace {

/// Calls visit(first channel of the input pixel, first weight, first channel of the output pixel) for every
/// tap of every output pixel that falls inside the image.
template <class Visit>
void for_each_tap(const ConvShape& s, Visit&& visit) {
  const int64_t block = int64_t{s.in.c} * s.out.c;
  for (int oh = 0; oh < s.out.h; ++oh)
    for (int ow = 0; ow < s.out.w; ++ow)
      for (int kh = 0; kh < s.kernel.h; ++kh)
        for (int kw = 0; kw < s.kernel.w; ++kw) {
          const int h = oh * s.stride.h - s.pad.h + kh, w = ow * s.stride.w - s.pad.w + kw;
          if (h < 0 || h >= s.in.h || w < 0 || w >= s.in.w) continue;
          visit((int64_t{h} * s.in.w + w) * s.in.c, (int64_t{kh} * s.kernel.w + kw) * block,
                (int64_t{oh} * s.out.w + ow) * s.out.c);
        }
}

}  // namespace

void reference_forward(const ConvShape& s, const real* x, const real* w, double* y) {
  std::fill_n(y, s.out.elems(), 0.);
  const int64_t channels = s.out.c;
  for_each_tap(s, [&](int64_t in, int64_t weight, int64_t out) {
    for (int64_t i = 0; i < s.in.c; ++i) {
      const double factor = x[in + i];
      const real* row = w + weight + i * channels;
      for (int64_t o = 0; o < channels; ++o) y[out + o] += factor * static_cast<double>(row[o]);
    }
  });
}

void reference_data_gradient(const ConvShape& s, const real* dy, const real* w, double* dx) {
  std::fill_n(dx, s.in.elems(), 0.);
  const int64_t channels = s.out.c;
  for_each_tap(s, [&](int64_t in, int64_t weight, int64_t out) {
    for (int64_t i = 0; i < s.in.c; ++i) {
      const real* row = w + weight + i * channels;
      double sum = 0;
      for (int64_t o = 0; o < channels; ++o)
        sum += static_cast<double>(dy[out + o]) * static_cast<double>(row[o]);
      dx[in + i] += sum;
    }
  });
}

void reference_weight_gradient(const ConvShape& s, const real* x, const real* dy, double* dw) {
  const int64_t channels = s.out.c;
  for_each_tap(s, [&](int64_t in, int64_t weight, int64_t out) {
    for (int64_t i = 0; i < s.in.c; ++i) {
      const double factor = x[in + i];
      double* row = dw + weight + i * channels;
      for (int64_t o = 0; o < channels; ++o) row[o] += factor * static_cast<double>(dy[out + o]);
    }
  });
}

}  // namespace mbs
