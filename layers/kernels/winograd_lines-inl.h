// The one-dimensional transforms of F(m, 3), m = 2 or 4, and how two make a square one. Interpolation points
// 0, 1, -1 (and 2, -2) and infinity, as in Lavin and Gray (CVPR 2016). Included once per instruction set.

#if defined(MBS_LAYERS_KERNELS_WINOGRAD_LINES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MBS_LAYERS_KERNELS_WINOGRAD_LINES_INL_H_
#undef MBS_LAYERS_KERNELS_WINOGRAD_LINES_INL_H_
#else
#define MBS_LAYERS_KERNELS_WINOGRAD_LINES_INL_H_
#endif

#include <hwy/highway.h>

#include "engine/real.h"
#include "layers/kernels/conv_simd.h"

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {
namespace winograd {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<real, kMaxLanes>;
using V = hn::Vec<D>;
constexpr D d;
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(d));

HWY_INLINE V constant(double value) { return hn::Set(d, static_cast<real>(value)); }

// Each line transform has `in` values, load(i), and `out` values, store(i, v).

/// B^T: patches, m + 2 to m + 2.
template <int m>
struct PatchLine;
template <>
struct PatchLine<4> {
  static constexpr int in = 6, out = 6;
  template <class Load, class Store>
  static HWY_INLINE void run(const Load& load, const Store& store) {
    const V two = constant(2), four = constant(4), minus5 = constant(-5);
    const V x0 = load(0), x1 = load(1), x2 = load(2), x3 = load(3), x4 = load(4), x5 = load(5);
    store(0, hn::MulAdd(four, x0, hn::MulAdd(minus5, x2, x4)));
    const V a = hn::NegMulAdd(four, x2, x4), b = hn::NegMulAdd(four, x1, x3);
    store(1, hn::Add(a, b));
    store(2, hn::Sub(a, b));
    const V e = hn::Sub(x4, x2), f = hn::Sub(x3, x1);
    store(3, hn::MulAdd(two, f, e));
    store(4, hn::NegMulAdd(two, f, e));
    store(5, hn::MulAdd(four, x1, hn::MulAdd(minus5, x3, x5)));
  }
};
template <>
struct PatchLine<2> {
  static constexpr int in = 4, out = 4;
  template <class Load, class Store>
  static HWY_INLINE void run(const Load& load, const Store& store) {
    const V x0 = load(0), x1 = load(1), x2 = load(2), x3 = load(3);
    store(0, hn::Sub(x0, x2));
    store(1, hn::Add(x1, x2));
    store(2, hn::Sub(x2, x1));
    store(3, hn::Sub(x1, x3));
  }
};

/// A: gradients of outputs, m to m + 2.
template <int m>
struct GradientLine;
template <>
struct GradientLine<4> {
  static constexpr int in = 4, out = 6;
  template <class Load, class Store>
  static HWY_INLINE void run(const Load& load, const Store& store) {
    const V two = constant(2), four = constant(4);
    const V x0 = load(0), x1 = load(1), x2 = load(2), x3 = load(3);
    store(0, x0);
    const V even = hn::Add(x0, x2), odd = hn::Add(x1, x3);
    store(1, hn::Add(even, odd));
    store(2, hn::Sub(even, odd));
    const V even2 = hn::MulAdd(four, x2, x0), odd2 = hn::MulAdd(four, x3, x1);
    store(3, hn::MulAdd(two, odd2, even2));
    store(4, hn::NegMulAdd(two, odd2, even2));
    store(5, x3);
  }
};
template <>
struct GradientLine<2> {
  static constexpr int in = 2, out = 4;
  template <class Load, class Store>
  static HWY_INLINE void run(const Load& load, const Store& store) {
    const V x0 = load(0), x1 = load(1);
    store(0, x0);
    store(1, hn::Add(x0, x1));
    store(2, hn::Sub(x0, x1));
    store(3, hn::Neg(x1));
  }
};

/// A^T: outputs, m + 2 to m.
template <int m>
struct OutputLine;
template <>
struct OutputLine<4> {
  static constexpr int in = 6, out = 4;
  template <class Load, class Store>
  static HWY_INLINE void run(const Load& load, const Store& store) {
    const V two = constant(2), four = constant(4), eight = constant(8);
    const V x1 = load(1), x2 = load(2), x3 = load(3), x4 = load(4);
    const V sum1 = hn::Add(x1, x2), sum2 = hn::Add(x3, x4);
    const V difference1 = hn::Sub(x1, x2), difference2 = hn::Sub(x3, x4);
    store(0, hn::Add(hn::Add(load(0), sum1), sum2));
    store(1, hn::MulAdd(two, difference2, difference1));
    store(2, hn::MulAdd(four, sum2, sum1));
    store(3, hn::Add(hn::MulAdd(eight, difference2, difference1), load(5)));
  }
};
template <>
struct OutputLine<2> {
  static constexpr int in = 4, out = 2;
  template <class Load, class Store>
  static HWY_INLINE void run(const Load& load, const Store& store) {
    const V x1 = load(1), x2 = load(2);
    store(0, hn::Add(hn::Add(load(0), x1), x2));
    store(1, hn::Sub(hn::Sub(x1, x2), load(3)));
  }
};

/// G: weights, 3 to m + 2.
template <int m>
struct WeightLine;
template <>
struct WeightLine<4> {
  static constexpr int in = 3, out = 6;
  template <class Load, class Store>
  static HWY_INLINE void run(const Load& load, const Store& store) {
    const V x0 = load(0), x1 = load(1), x2 = load(2), minus6th = constant(-1.0 / 6);
    store(0, hn::Mul(constant(0.25), x0));
    const V outer = hn::Add(x0, x2);
    store(1, hn::Mul(minus6th, hn::Add(outer, x1)));
    store(2, hn::Mul(minus6th, hn::Sub(outer, x1)));
    const V outer2 = hn::MulAdd(constant(1.0 / 24), x0, hn::Mul(constant(1.0 / 6), x2));
    const V inner2 = hn::Mul(constant(1.0 / 12), x1);
    store(3, hn::Add(outer2, inner2));
    store(4, hn::Sub(outer2, inner2));
    store(5, x2);
  }
};
template <>
struct WeightLine<2> {
  static constexpr int in = 3, out = 4;
  template <class Load, class Store>
  static HWY_INLINE void run(const Load& load, const Store& store) {
    const V x0 = load(0), x1 = load(1), x2 = load(2), half = constant(0.5);
    store(0, x0);
    const V outer = hn::Add(x0, x2);
    store(1, hn::Mul(half, hn::Add(outer, x1)));
    store(2, hn::Mul(half, hn::Sub(outer, x1)));
    store(3, x2);
  }
};

/// G^T: weight gradients, m + 2 to 3.
template <int m>
struct WeightGradientLine;
template <>
struct WeightGradientLine<4> {
  static constexpr int in = 6, out = 3;
  template <class Load, class Store>
  static HWY_INLINE void run(const Load& load, const Store& store) {
    const V x1 = load(1), x2 = load(2), x3 = load(3), x4 = load(4);
    const V minus6th = constant(-1.0 / 6), sum1 = hn::Mul(minus6th, hn::Add(x1, x2)), sum2 = hn::Add(x3, x4);
    store(0, hn::MulAdd(constant(1.0 / 24), sum2, hn::MulAdd(constant(0.25), load(0), sum1)));
    store(1, hn::MulAdd(constant(1.0 / 12), hn::Sub(x3, x4), hn::Mul(minus6th, hn::Sub(x1, x2))));
    store(2, hn::Add(hn::MulAdd(constant(1.0 / 6), sum2, sum1), load(5)));
  }
};
template <>
struct WeightGradientLine<2> {
  static constexpr int in = 4, out = 3;
  template <class Load, class Store>
  static HWY_INLINE void run(const Load& load, const Store& store) {
    const V x1 = load(1), x2 = load(2), half = constant(0.5), sum = hn::Mul(half, hn::Add(x1, x2));
    store(0, hn::Add(load(0), sum));
    store(1, hn::Mul(half, hn::Sub(x1, x2)));
    store(2, hn::Add(sum, load(3)));
  }
};

// Applies a line transform to the columns and then to the rows of a square: store(row, column, v) for all of
// out x out from load(row, column) of in x in.
template <class Line, class Load, class Store>
HWY_INLINE void square_transform(const Load& load, const Store& store) {
  alignas(64) real between[Line::out * Line::in * kLanes];
  for (int c = 0; c < Line::in; ++c)
    Line::run([&](int r) HWY_ATTR { return load(r, c); },
              [&](int r, V v) HWY_ATTR { hn::Store(v, d, between + (r * Line::in + c) * kLanes); });
  for (int r = 0; r < Line::out; ++r)
    Line::run([&](int c) HWY_ATTR { return hn::Load(d, between + (r * Line::in + c) * kLanes); },
              [&](int c, V v) HWY_ATTR { store(r, c, v); });
}

}  // namespace winograd
}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#endif
