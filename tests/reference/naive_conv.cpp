#include "tests/reference/naive_conv.h"

namespace mbs::reference {
namespace {

int64_t at(const Shape& s, int n, int h, int w, int c) {
  return ((int64_t{n} * s.h + h) * s.w + w) * s.c + c;
}

bool inside(const Shape& s, int h, int w) { return h >= 0 && h < s.h && w >= 0 && w < s.w; }

/// Calls visit(n, oh, ow, co, kh, kw, ci, h, w) for every product of the definition.
template <class Visit>
void for_each_product(const ConvShape& s, int samples, Visit&& visit) {
  for (int n = 0; n < samples; ++n)
    for (int oh = 0; oh < s.out.h; ++oh)
      for (int ow = 0; ow < s.out.w; ++ow)
        for (int co = 0; co < s.out.c; ++co)
          for (int kh = 0; kh < s.kernel.h; ++kh)
            for (int kw = 0; kw < s.kernel.w; ++kw)
              for (int ci = 0; ci < s.in.c; ++ci)
                visit(n, oh, ow, co, kh, kw, ci, oh * s.stride.h - s.pad.h + kh,
                      ow * s.stride.w - s.pad.w + kw);
}

int64_t weight_at(const ConvShape& s, int kh, int kw, int ci, int co) {
  return ((int64_t{kh} * s.kernel.w + kw) * s.in.c + ci) * s.out.c + co;
}

}  // namespace

Counted conv_forward(const ConvShape& s, int samples, const real* x, const real* w, const real* bias) {
  Counted y{std::vector<double>(static_cast<size_t>(samples * s.out.elems())), 0};
  for (size_t i = 0; bias != nullptr && i < y.values.size(); ++i)
    y.values[i] = bias[i % static_cast<size_t>(s.out.c)];
  for_each_product(s, samples, [&](int n, int oh, int ow, int co, int kh, int kw, int ci, int h, int wi) {
    ++y.macs;
    if (inside(s.in, h, wi))
      y.values[static_cast<size_t>(at(s.out, n, oh, ow, co))] +=
          double{x[at(s.in, n, h, wi, ci)]} * double{w[weight_at(s, kh, kw, ci, co)]};
  });
  return y;
}

Counted conv_data_gradient(const ConvShape& s, int samples, const real* dy, const real* w) {
  Counted dx{std::vector<double>(static_cast<size_t>(samples * s.in.elems())), 0};
  for (int n = 0; n < samples; ++n)
    for (int h = 0; h < s.in.h; ++h)
      for (int wi = 0; wi < s.in.w; ++wi)
        for (int ci = 0; ci < s.in.c; ++ci)
          for (int kh = 0; kh < s.kernel.h; ++kh)
            for (int kw = 0; kw < s.kernel.w; ++kw) {
              dx.macs += s.out.c;
              const int oh = h + s.pad.h - kh, ow = wi + s.pad.w - kw;  // in units of input pixels
              if (oh % s.stride.h != 0 || ow % s.stride.w != 0 ||
                  !inside(s.out, oh / s.stride.h, ow / s.stride.w) || oh < 0 || ow < 0)
                continue;
              for (int co = 0; co < s.out.c; ++co)
                dx.values[static_cast<size_t>(at(s.in, n, h, wi, ci))] +=
                    double{dy[at(s.out, n, oh / s.stride.h, ow / s.stride.w, co)]} *
                    double{w[weight_at(s, kh, kw, ci, co)]};
            }
  return dx;
}

Counted conv_weight_gradient(const ConvShape& s, int samples, const real* x, const real* dy) {
  Counted dw{std::vector<double>(static_cast<size_t>(s.weight_elems())), 0};
  for_each_product(s, samples, [&](int n, int oh, int ow, int co, int kh, int kw, int ci, int h, int wi) {
    ++dw.macs;
    if (inside(s.in, h, wi))
      dw.values[static_cast<size_t>(weight_at(s, kh, kw, ci, co))] +=
          double{x[at(s.in, n, h, wi, ci)]} * double{dy[at(s.out, n, oh, ow, co)]};
  });
  return dw;
}

}  // namespace mbs::reference
