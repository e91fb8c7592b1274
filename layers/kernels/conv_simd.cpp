#include "layers/kernels/conv_simd.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "layers/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "layers/kernels/conv_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "layers/kernels/conv_simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mbs {
namespace HWY_NAMESPACE {

// What becomes of the sums of a block.
struct Sink {
  int64_t col_step, channels;
  const real* bias;
  bool add;
  bool plain;  ///< whole vectors, no bias, assigned
};

// Writes the sums of `pixels` pixels, `width` each, of which sink.channels are wanted. Not inlined: it would
// be most of the code of every block.
HWY_NOINLINE void store_pixels(const real* sums, int pixels, int64_t width, real* out, const Sink& sink) {
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

// A block computes pixels of up to seven groups, of up to seven neighbouring columns each; where its groups
// lie is free. So rows of any length keep the registers busy, and a block needs one address register for each
// group and three for the distances in it, in bytes: the processor multiplies an index by 1, 2 and 4 itself.
constexpr int kMostCols = 7, kMostGroups = 7;

struct ColumnSteps {
  int64_t one, three, five;
};

// Makes the compiler keep a value in a register of its own instead of deriving it from others.
template <class T>
HWY_INLINE void keep(T& value) {
  asm("" : "+r"(value));
}

template <int kCol>
HWY_INLINE const real* column(const real* group, const ColumnSteps& step) {
  static_assert(kCol < kMostCols);
  const int64_t offsets[kMostCols] = {0,         step.one,      2 * step.one, step.three, 4 * step.one,
                                      step.five, 2 * step.three};
  return reinterpret_cast<const real*>(reinterpret_cast<const char*>(group) + offsets[kCol]);
}

template <int kVectors, int kCols, int kGroups, int... P>
HWY_INLINE void add_step(Pack<P...>, Sums<kVectors> (&sums)[kCols * kGroups],
                         const real* const (&groups)[kGroups], const ColumnSteps& step, int64_t k,
                         const real* panel) {
  const Sums<kVectors> w = load<kVectors>(panel);
  (add_product(sums[P], column<P % kCols>(groups[P / kCols], step)[k], w), ...);
}

template <int kVectors, int kCols, int... P, int... G>
HWY_INLINE void correlate_block(Pack<P...> pixels, Pack<G...>, const Patch& patch, const real* const* in,
                                int64_t col_step, const real* panel, real* const* out, const Sink& sink) {
  constexpr int kPixels = sizeof...(P), kGroups = sizeof...(G);
  constexpr int64_t kBytes = sizeof(real), kRow = kVectors * kLanes;
  alignas(64) static constexpr real kZeros[kRow] = {};
  Sums<kVectors> sums[kPixels] = {(static_cast<void>(P), load<kVectors>(kZeros))...};
  ColumnSteps step{col_step * kBytes, 3 * col_step * kBytes, 5 * col_step * kBytes};
  keep(step.one);
  keep(step.three);
  keep(step.five);
  for (int r = 0; r < patch.runs; ++r) {
    const real* groups[kGroups] = {in[G] + r * patch.run_step...};
    (keep(groups[G]), ...);
    int64_t left = patch.run_elems;
    for (; left >= 2; left -= 2, panel += 2 * kRow) {
      add_step<kVectors, kCols, kGroups>(pixels, sums, groups, step, 0, panel);
      add_step<kVectors, kCols, kGroups>(pixels, sums, groups, step, 1, panel + kRow);
      ((groups[G] += 2, keep(groups[G])), ...);
    }
    if (left > 0) {
      add_step<kVectors, kCols, kGroups>(pixels, sums, groups, step, 0, panel);
      panel += kRow;
    }
  }
  if (sink.plain) {
    (store(sums[P], out[P / kCols] + P % kCols * sink.col_step), ...);
    return;
  }
  alignas(64) real stored[kPixels * kRow];
  (store(sums[P], stored + P * kRow), ...);
  for (int g = 0; g < kGroups; ++g) store_pixels(stored + g * kCols * kRow, kCols, kRow, out[g], sink);
}

template <int kVectors, int kCols, int kGroups>
void correlate_block(const Patch& patch, const real* const* in, int64_t col_step, const real* panel,
                     real* const* out, const Sink& sink) {
  correlate_block<kVectors, kCols>(Count<kCols * kGroups>(), Count<kGroups>(), patch, in, col_step, panel,
                                   out, sink);
}

using CorrelateBlock = void (*)(const Patch&, const real* const*, int64_t, const real*, real* const*,
                                const Sink&);

// Entry i is the block of i + 1 groups.
template <int kVectors, int kCols, int... I>
constexpr std::array<CorrelateBlock, sizeof...(I)> correlate_blocks(Pack<I...>) {
  return {correlate_block<kVectors, kCols, I + 1>...};
}

// The most groups of a block, 0 where not even one of so many columns fits.
constexpr int most_groups(int cols, int vectors) {
  return std::min(kAccumulators / vectors / cols, kMostGroups);
}

// What correlate is given, but for the columns.
struct Correlation {
  Patch patch;
  Grid grid;
  Pixels<const real> in;
  Pixels<real> out;
  const real* panel;
  Sink sink;
};

// The columns from `first` on, as `per_row` groups in each row.
template <int kVectors, int kCols>
void correlate_groups(const Correlation& x, int64_t first, int64_t per_row) {
  constexpr int kMost = most_groups(kCols, kVectors);
  static constexpr auto kBlocks = correlate_blocks<kVectors, kCols>(Count<kMost>());
  const real* in[kMost];
  real* out[kMost];
  int count = 0;
  for (int64_t n = 0; n < x.grid.samples; ++n)
    for (int64_t r = 0; r < x.grid.rows; ++r)
      for (int64_t i = 0; i < per_row; ++i) {
        const int64_t c = first + i * kCols;
        in[count] = x.in.data + n * x.in.sample_step + r * x.in.row_step + c * x.in.col_step;
        out[count] = x.out.data + n * x.out.sample_step + r * x.out.row_step + c * x.out.col_step;
        if (++count < kMost) continue;
        kBlocks[kMost - 1](x.patch, in, x.in.col_step, x.panel, out, x.sink);
        count = 0;
      }
  if (count > 0) kBlocks[static_cast<size_t>(count - 1)](x.patch, in, x.in.col_step, x.panel, out, x.sink);
}

// Columns of a group such that rows of `cols` columns take the least time. Each step of a block costs its
// multiply-adds, at least eight (the units are two, four deep), and about one more for all else.
int64_t group_columns(int64_t cols, int vectors) {
  const auto cost = [&](int64_t group) {
    const int pixels = static_cast<int>(group) * most_groups(static_cast<int>(group), vectors);
    return static_cast<double>(std::max(pixels * vectors, 8) + vectors) / pixels;
  };
  int64_t best = 1;
  double best_cost = std::numeric_limits<double>::infinity();
  for (int64_t group = 1; group <= std::min<int64_t>(cols, kMostCols); ++group) {
    if (most_groups(static_cast<int>(group), vectors) == 0) break;
    const int64_t rest = cols % group;
    constexpr double kTwoSweeps = 1.02;
    const double total =
        rest == 0
            ? static_cast<double>(cols) * cost(group)
            : (static_cast<double>(cols - rest) * cost(group) + static_cast<double>(rest) * cost(rest)) *
                  kTwoSweeps;
    if (total > best_cost) continue;
    best = group;
    best_cost = total;
  }
  return best;
}

template <int kVectors, int kCols = 1>
void correlate_columns(const Correlation& x, int64_t group, int64_t first, int64_t per_row) {
  if (group == kCols) return correlate_groups<kVectors, kCols>(x, first, per_row);
  if constexpr (kCols < kMostCols && most_groups(kCols + 1, kVectors) > 0)
    correlate_columns<kVectors, kCols + 1>(x, group, first, per_row);
}

template <int kVectors>
void correlate_vectors(const Correlation& x) {
  const int64_t cols = x.grid.cols, group = group_columns(cols, kVectors), rest = cols % group;
  correlate_columns<kVectors>(x, group, 0, cols / group);
  if (rest > 0) correlate_columns<kVectors>(x, rest, cols - rest, 1);
}

// Rows that follow each other without a gap are one long row; samples likewise.
void merge_rows(Grid& grid, Pixels<const real>& in, Pixels<real>& out) {
  const auto dense = [](int64_t cols, const auto& p) { return p.row_step == cols * p.col_step; };
  if (!dense(grid.cols, in) || !dense(grid.cols, out)) return;
  grid = {1, grid.samples, grid.rows * grid.cols};
  in.row_step = in.sample_step;
  out.row_step = out.sample_step;
  if (grid.rows > 1 && dense(grid.cols, in) && dense(grid.cols, out)) grid = {1, 1, grid.rows * grid.cols};
}

int64_t Lanes() { return kLanes; }

void Correlate(const Patch& patch, Grid grid, Pixels<const real> patches, const real* panel, int vectors,
               int64_t channels, const real* bias, bool add, Pixels<real> out) {
  merge_rows(grid, patches, out);
  const Sink sink{out.col_step, channels, bias, add, bias == nullptr && !add && channels == vectors * kLanes};
  const Correlation x{patch, grid, patches, out, panel, sink};
  if (vectors == 1) correlate_vectors<1>(x);
  if (vectors == 2) correlate_vectors<2>(x);
}

void CopyColumns(const real* from, int64_t rows, int64_t columns, int64_t from_step, real* to,
                 int64_t width) {
  for (int64_t r = 0; r < rows; ++r, from += from_step, to += width) {
    int64_t c = 0;
    constexpr int64_t kAhead = 8;  // rows far apart are not foreseen by the processor
    for (; c + kLanes <= columns; c += kLanes) {
      __builtin_prefetch(from + kAhead * from_step + c);
      hn::StoreU(hn::LoadU(d, from + c), d, to + c);
    }
    for (; c < columns; ++c) to[c] = from[c];
    for (; c < width; ++c) to[c] = 0;
  }
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
HWY_EXPORT(Lanes);
HWY_EXPORT(Correlate);
HWY_EXPORT(CopyColumns);
HWY_EXPORT(Transpose);

int64_t vector_lanes() { return HWY_DYNAMIC_DISPATCH(Lanes)(); }

void correlate(const Patch& patch, Grid grid, Pixels<const real> patches, const real* panel, int vectors,
               int64_t channels, const real* bias, bool add, Pixels<real> out) {
  HWY_DYNAMIC_DISPATCH(Correlate)(patch, grid, patches, panel, vectors, channels, bias, add, out);
}

void copy_columns(const real* from, int64_t rows, int64_t columns, int64_t from_step, real* to,
                  int64_t width) {
  HWY_DYNAMIC_DISPATCH(CopyColumns)(from, rows, columns, from_step, to, width);
}

void transpose(const real* from, int64_t rows, int64_t columns, int64_t from_step, real* to,
               int64_t to_step) {
  HWY_DYNAMIC_DISPATCH(Transpose)(from, rows, columns, from_step, to, to_step);
}

}  // namespace mbs
#endif
