#include "layers/kernels/conv_simd.h"

#include <algorithm>
#include <array>
#include <utility>

#include "layers/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/kernels/conv_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<real, kMaxLanes>;
using V = hn::Vec<D>;
constexpr D d;
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(d));

// Accumulators of a register block. 32 registers: 28 and the operands; 16 registers: 12. The fallback without
// vector registers, and the code for a sanitizer, get few: larger blocks would take minutes to compile. The
// number of accumulators changes no bit of a result.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
constexpr bool kFourVectors = true;  // blocks of at most four pixels can be four vectors wide
constexpr int kAllAccumulators = 28;
#else
constexpr bool kFourVectors = false;
constexpr int kAllAccumulators = HWY_TARGET == HWY_AVX2 ? 12 : 4;
#endif
#if defined(__SANITIZE_ADDRESS__)
constexpr int kAccumulators = 4;
#else
constexpr int kAccumulators = kAllAccumulators;
#endif

// Loops over registers are unrolled by templates: GCC 12 may leave an array that is indexed by a loop
// variable in memory, at a quarter of the speed.
template <int... I, class F>
HWY_INLINE void unroll(std::integer_sequence<int, I...>, F&& f) {
  (f(std::integral_constant<int, I>()), ...);
}
#define UNROLL(n, i, ...) unroll(std::make_integer_sequence<int, n>(), [&](auto i) HWY_ATTR { __VA_ARGS__ })

struct Sink {
  real* out;
  int64_t col_step, channels;
  const real* bias;
  bool add;
  bool plain;  ///< whole vectors, no bias, assigned
};

// Writes the sums of `pixels` pixels, `width` each, of which sink.channels are wanted. Not inlined: it would
// be most of the code of every block.
HWY_NOINLINE void store_pixels(const real* sums, int pixels, int64_t width, const Sink& sink) {
  real* out = sink.out;
  for (int i = 0; i < pixels; ++i, sums += width, out += sink.col_step) {
    int64_t c = 0;
    for (; c + kLanes <= sink.channels; c += kLanes) {
      V value = hn::Load(d, sums + c);
      if (sink.bias != nullptr) value = hn::Add(value, hn::LoadU(d, sink.bias + c));
      if (sink.add) value = hn::Add(value, hn::LoadU(d, out + c));
      hn::StoreU(value, d, out + c);
    }
    for (; c < sink.channels; ++c)
      out[c] = sums[c] + (sink.bias != nullptr ? sink.bias[c] : 0) + (sink.add ? out[c] : 0);
  }
}

// acc[i] += a[i * step + k] * panel[k] for k < kSteps. All steps of one pixel come together, so that an
// address that does not fit into a register is fetched once.
template <int kSteps, int kPixels, int kVectors>
HWY_INLINE void add_products(V (&acc)[kPixels][kVectors], const real* a, int64_t step, const real* panel) {
  V w[kSteps][kVectors];
  UNROLL(kSteps, k, UNROLL(kVectors, v, w[k][v] = hn::LoadU(d, panel + (k * kVectors + v) * kLanes);););
  UNROLL(kPixels, i, const real* at = a + i * step;
         UNROLL(kSteps, k, const V x = hn::Set(d, at[k]);
                UNROLL(kVectors, v, acc[i][v] = hn::MulAdd(x, w[k][v], acc[i][v]););););
}

template <int kPixels, int kVectors>
void correlate_block(const Patches& p, const real* image, const real* panel, const Sink& sink) {
  V acc[kPixels][kVectors];
  UNROLL(kPixels, i, UNROLL(kVectors, v, acc[i][v] = hn::Zero(d);););
  constexpr int kSteps = kVectors == 1 ? 2 : 1;  // with one vector there are registers left, and more pixels
  constexpr int64_t kRow = kVectors * kLanes;
  const int64_t step = p.col_step;
  for (int r = 0; r < p.runs; ++r) {
    const real* a = image + r * p.run_step;
    const real* end = a + p.run_elems;
    for (; end - a >= kSteps; a += kSteps, panel += kSteps * kRow) add_products<kSteps>(acc, a, step, panel);
    for (; a != end; ++a, panel += kRow) add_products<1>(acc, a, step, panel);
  }
  if (sink.plain) {
    UNROLL(kPixels, i,
           UNROLL(kVectors, v, hn::StoreU(acc[i][v], d, sink.out + i * sink.col_step + v * kLanes);););
    return;
  }
  alignas(64) real sums[kPixels * kVectors * kLanes];
  UNROLL(kPixels, i, UNROLL(kVectors, v, hn::Store(acc[i][v], d, sums + (i * kVectors + v) * kLanes);););
  store_pixels(sums, kPixels, kVectors * kLanes, sink);
}

template <int kElems, int kVectors>
void gradient_block(const Patches& p, int samples, const real* image, int64_t image_step,
                    const Pixels<const real>& dy, int64_t dy_step, real* dw, int64_t dw_step) {
  V acc[kElems][kVectors];
  UNROLL(kElems, i, UNROLL(kVectors, v, acc[i][v] = hn::LoadU(d, dw + i * dw_step + v * kLanes);););
  for (int n = 0; n < samples; ++n)
    for (int r = 0; r < p.rows; ++r) {
      const real* a = image + n * image_step + r * p.row_step;
      const real* g = dy.data + n * dy_step + r * dy.row_step;
      for (int c = 0; c < p.cols; ++c, a += p.col_step, g += dy.col_step) {
        V gv[kVectors];
        UNROLL(kVectors, v, gv[v] = hn::LoadU(d, g + v * kLanes););
        UNROLL(kElems, i, const V x = hn::Set(d, a[i]);
               UNROLL(kVectors, v, acc[i][v] = hn::MulAdd(x, gv[v], acc[i][v]);););
      }
    }
  UNROLL(kElems, i, UNROLL(kVectors, v, hn::StoreU(acc[i][v], d, dw + i * dw_step + v * kLanes);););
}

using CorrelateBlock = void (*)(const Patches&, const real*, const real*, const Sink&);
using GradientBlock = void (*)(const Patches&, int, const real*, int64_t, const Pixels<const real>&, int64_t,
                               real*, int64_t);

// Entry i is the block of i + 1 pixels (or elements of a patch).
template <int kVectors, int... I>
constexpr std::array<CorrelateBlock, sizeof...(I)> correlate_blocks(std::integer_sequence<int, I...>) {
  return {correlate_block<I + 1, kVectors>...};
}
template <int kVectors, int... I>
constexpr std::array<GradientBlock, sizeof...(I)> gradient_blocks(std::integer_sequence<int, I...>) {
  return {gradient_block<I + 1, kVectors>...};
}

// Cuts [0, n) into the fewest pieces of at most `most`, as equal as can be, and calls body(begin, size).
template <class Body>
void balanced_pieces(int64_t n, int64_t most, Body&& body) {
  const int64_t pieces = (n + most - 1) / most;
  for (int64_t i = 0; i < pieces; ++i) {
    const int64_t begin = n * i / pieces;
    body(begin, n * (i + 1) / pieces - begin);
  }
}

template <int kVectors>
void correlate_vectors(const Patches& p, const real* image, const real* panel, int64_t channels,
                       const real* bias, bool add, const Pixels<real>& out) {
  constexpr int kMost = kVectors == 4 ? 4 : std::min(kAccumulators / kVectors, 16);
  static constexpr auto kBlocks = correlate_blocks<kVectors>(std::make_integer_sequence<int, kMost>());
  for (int r = 0; r < p.rows; ++r)
    balanced_pieces(p.cols, kMost, [&](int64_t c, int64_t size) {
      const Sink sink{
          out.data + r * out.row_step + c * out.col_step,          out.col_step, channels, bias, add,
          bias == nullptr && !add && channels == kVectors * kLanes};
      kBlocks[static_cast<size_t>(size - 1)](p, image + r * p.row_step + c * p.col_step, panel, sink);
    });
}

template <int kVectors>
void gradient_vectors(const Patches& p, int samples, const real* image, int64_t image_step,
                      const Pixels<const real>& dy, int64_t dy_step, real* dw, int64_t dw_step) {
  constexpr int kMost = std::min(kAccumulators / kVectors, 24);
  static constexpr auto kBlocks = gradient_blocks<kVectors>(std::make_integer_sequence<int, kMost>());
  for (int r = 0; r < p.runs; ++r)
    balanced_pieces(p.run_elems, kMost, [&](int64_t k, int64_t size) {
      kBlocks[static_cast<size_t>(size - 1)](p, samples, image + r * p.run_step + k, image_step, dy, dy_step,
                                             dw + (r * p.run_elems + k) * dw_step, dw_step);
    });
}

int PanelVectors(int64_t channels, int64_t cols) {
  if (channels <= kLanes) return 1;
  if (channels > 3 * kLanes && cols <= 4 && kFourVectors) return 4;
  return 2;
}

int64_t Lanes() { return kLanes; }

void Correlate(const Patches& p, const real* image, const real* panel, int vectors, int64_t channels,
               const real* bias, bool add, const Pixels<real>& out) {
  if (vectors == 1) correlate_vectors<1>(p, image, panel, channels, bias, add, out);
  if (vectors == 2) correlate_vectors<2>(p, image, panel, channels, bias, add, out);
  if constexpr (kFourVectors)
    if (vectors == 4) correlate_vectors<4>(p, image, panel, channels, bias, add, out);
}

void CorrelateGradient(const Patches& p, int samples, const real* image, int64_t image_step,
                       const Pixels<const real>& dy, int64_t dy_step, int vectors, real* dw,
                       int64_t dw_step) {
  if (vectors == 1) gradient_vectors<1>(p, samples, image, image_step, dy, dy_step, dw, dw_step);
  if (vectors == 2) gradient_vectors<2>(p, samples, image, image_step, dy, dy_step, dw, dw_step);
}

// Four rows at a time: a store that interleaves them leaves each column's four values side by side.
void Transpose(const real* from, int64_t rows, int64_t columns, int64_t from_step, real* to,
               int64_t to_step) {
  alignas(64) real interleaved[4 * kLanes];
  for (int64_t r = 0; r < rows; r += 4) {
    const real* row = from + r * from_step;
    int64_t c = 0;
    for (; r + 4 <= rows && c + kLanes <= columns; c += kLanes) {
      hn::StoreInterleaved4(hn::LoadU(d, row + c), hn::LoadU(d, row + from_step + c),
                            hn::LoadU(d, row + 2 * from_step + c), hn::LoadU(d, row + 3 * from_step + c), d,
                            interleaved);
      for (int64_t i = 0; i < kLanes; ++i) std::copy_n(interleaved + 4 * i, 4, to + (c + i) * to_step + r);
    }
    for (; c < columns; ++c)
      for (int64_t i = 0; i < std::min<int64_t>(4, rows - r); ++i)
        to[c * to_step + r + i] = row[i * from_step + c];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace mbs
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mbs {
HWY_EXPORT(PanelVectors);
HWY_EXPORT(Lanes);
HWY_EXPORT(Correlate);
HWY_EXPORT(CorrelateGradient);
HWY_EXPORT(Transpose);

int panel_vectors(int64_t channels, int64_t cols) {
  return HWY_DYNAMIC_DISPATCH(PanelVectors)(channels, cols);
}

int64_t vector_lanes() { return HWY_DYNAMIC_DISPATCH(Lanes)(); }

void correlate(const Patches& patches, const real* image, const real* panel, int vectors, int64_t channels,
               const real* bias, bool add, const Pixels<real>& out) {
  HWY_DYNAMIC_DISPATCH(Correlate)(patches, image, panel, vectors, channels, bias, add, out);
}

void correlate_gradient(const Patches& patches, int samples, const real* image, int64_t image_step,
                        const Pixels<const real>& dy, int64_t dy_step, int vectors, real* dw,
                        int64_t dw_step) {
  HWY_DYNAMIC_DISPATCH(CorrelateGradient)
  (patches, samples, image, image_step, dy, dy_step, vectors, dw, dw_step);
}

void transpose(const real* from, int64_t rows, int64_t columns, int64_t from_step, real* to,
               int64_t to_step) {
  HWY_DYNAMIC_DISPATCH(Transpose)(from, rows, columns, from_step, to, to_step);
}

}  // namespace mbs
#endif
