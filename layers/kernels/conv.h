// Convolution as three functions over samples, with two implementations behind one signature.
//
//   y[oh][ow][co] = bias[co] + sum over kh, kw, ci of x[h][w][ci] * weight[kh][kw][ci][co]
//   h = oh * stride.h - pad.h + kh,  w = ow * stride.w - pad.w + kw
//
// x outside of the image is 0. Activations are NHWC, weights [kh][kw][c_in][c_out].
#pragma once

#include <cstdint>

#include "engine/real.h"
#include "engine/shape.h"
#include "engine/spec.h"

namespace mbs {

/// The geometry of one sample's convolution.
struct ConvShape {
  Shape in, out;
  Extent kernel, stride, pad;

  int64_t taps() const { return int64_t{kernel.h} * kernel.w; }
  int64_t weight_elems() const { return taps() * in.c * out.c; }
  /// A 1x1 convolution that reads every pixel once: a plain matrix product.
  bool pointwise() const { return kernel == Extent{1, 1} && stride == Extent{1, 1} && pad == Extent{0, 0}; }
};

/// Arguments of the three functions; what is not used by one may be null.
struct ConvArgs {
  int samples = 1;
  const real* x = nullptr;         ///< samples x in
  const real* w = nullptr;         ///< {kh, kw, c_in, c_out}
  const real* prepared = nullptr;  ///< what ConvKernel::prepare made of w
  const real* bias = nullptr;      ///< {c_out}, null: none (forward only)
  const real* dy = nullptr;        ///< samples x out
  real* out = nullptr;  ///< forward: y, assigned; data gradient: dx; weight gradient: dw or the accumulator,
                        ///< added to
  bool add = false;     ///< data gradient: dx is added to, else assigned
  real* scratch = nullptr;  ///< as many elements as scratch_elems says, contents undefined
};

/// Forward or data gradient of one implementation. Samples do not depend on each other.
struct ConvKernel {
  int64_t (*scratch_elems)(const ConvShape&);
  void (*run)(const ConvShape&, const ConvArgs&);
  /// Weights in the form that `run` reads, made once for all calls of a step. Null: it reads them as they
  /// are.
  int64_t (*prepared_elems)(const ConvShape&) = nullptr;
  void (*prepare)(const ConvShape&, const real* w, real* prepared) = nullptr;
};

/// Weight gradient of one implementation: one chain of additions in sample order that starts from what is
/// there.
struct ConvWeightGradient {
  int64_t (*scratch_elems)(const ConvShape&);
  void (*run)(const ConvShape&, const ConvArgs&);
  /// Where not null, `run` adds to an accumulator that starts as zeros, and `finish` adds that to dw and
  /// leaves zeros.
  int64_t (*accumulator_elems)(const ConvShape&) = nullptr;
  void (*finish)(const ConvShape&, real* accumulator, real* dw) = nullptr;
};

struct ConvKernels {
  ConvKernel forward, data_gradient;
  ConvWeightGradient weight_gradient;
};

extern const ConvKernels kDirectConv;  ///< vector kernels (conv_simd.h)
extern const ConvKernels kGemmConv;    ///< im2col and OpenBLAS, one GEMM per sample

/// sums[c] += sum over rows of m[row][c], one chain of additions in row order: the gradient of a bias.
void add_rows(int64_t rows, int channels, const real* m, real* sums);

/// What the current kernel set (kernel_set.h) uses for a shape.
ConvKernels choose_conv_kernels(const ConvShape&);

}  // namespace mbs
