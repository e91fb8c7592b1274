// The systolic array: cycles, accesses and lower bounds of one matrix product, in closed form.
//
// C[m][n] = A[m][k] B[k][n] on rows x cols multiply-accumulate units. One operand is held in the array, a
// fold (a tile of rows x cols) at a time, another streams through it:
//
//   dataflow   held    rows   cols   streamed (T)   folds
//   ws         B       k      n      m              ceil(k/rows) ceil(n/cols)
//   is         A       k      m      n              ceil(k/rows) ceil(m/cols)
//   os         C       m      n      k              ceil(m/rows) ceil(n/cols)
//
// A fold always takes the whole array: beyond an edge it holds zeros. ws and is add up their results in
// accumulators beside the array, and where these hold only tile_rows rows of results, every fold is done once
// for each row tile. docs/wavecore.md derives the cycles; tests/reference/systolic_array.h simulates them.
#pragma once

#include <cstdint>

namespace mbs {

/// Which matrix stays in the array: weights B, outputs C, or inputs A.
enum class ArrayDataflow : uint8_t { ws, os, is };

/// What overlaps from one fold to the next.
enum class CycleModel : uint8_t {
  none,           ///< nothing: the array is empty before the next operand is shifted in
  drain,          ///< the next operand is shifted in while the last results still leave the array
  double_buffer,  ///< every unit holds the next operand in a second register: shifted in while the array
                  ///< works
  scalesim,       ///< as SCALE-Sim counts: `none`, but os is not charged for its results' way out
};

/// Mixed precision: operands of 16 bits, sums of 32.
inline constexpr int64_t kOperandBytes = 2, kSumBytes = 4;

/// The size of the array.
struct ArrayShape {
  int64_t rows = 128, cols = 128;
  int64_t tile_rows = 0;  ///< rows of results that the accumulators hold (ws, is); 0: no limit
};

/// Cycles of a matrix product, or of several on the same array, one after the other.
struct GemmCycles {
  int64_t folds = 0;         ///< operand tiles that are brought into the array
  int64_t cycles = 0;        ///< from the first operand that enters to the last result that leaves
  int64_t macs = 0;          ///< useful multiply-accumulates: m n k
  int64_t mapped_units = 0;  ///< sum over the folds of the units that hold an operand and not a zero
  int64_t units = 0;         ///< of the array: rows cols

  /// Useful multiply-accumulates per unit and cycle, at most 1.
  double utilization() const;
  /// Share of the units that a fold uses, on average: what edges waste, without what time does. At most 1.
  double mapping_efficiency() const;
  GemmCycles& operator+=(const GemmCycles&);
};

/// Cycles of one product. m, n, k at least 1.
///
///   cycles = R + sum over folds but the last of step(T) + T of the last + R + C - 2
///   step(T) = T + 2R + C - 2 (none, scalesim), T + R (drain), max(T, R) (double_buffer)
///
/// with R rows and C columns of the array, T what the fold streams (all of it, tile_rows, or the remainder);
/// without the first R for os under scalesim.
GemmCycles gemm_cycles(int64_t m, int64_t n, int64_t k, const ArrayShape& array,
                       ArrayDataflow dataflow = ArrayDataflow::ws,
                       CycleModel model = CycleModel::double_buffer);

/// Elements that one product moves between the array and the memories beside it.
struct GemmAccesses {
  int64_t a_reads = 0, b_reads = 0;
  int64_t partial_sums = 0;  ///< results that leave the array, each to be added up in the accumulators
  int64_t results = 0;       ///< m n
};
GemmAccesses gemm_accesses(int64_t m, int64_t n, int64_t k, const ArrayShape& array,
                           ArrayDataflow dataflow = ArrayDataflow::ws);

/// Bytes that one product moves to and from each buffer: every operand that the array takes out of the global
/// buffer (each copy of im2col too) and every result into it; every operand into and out of a local buffer;
/// and every partial sum into and out of the accumulators.
struct GemmBufferBytes {
  int64_t global_buffer = 0, local_buffers = 0, accumulators = 0;
};
GemmBufferBytes gemm_buffer_bytes(int64_t m, int64_t n, int64_t k, const ArrayShape& array,
                                  ArrayDataflow dataflow = ArrayDataflow::ws);

/// Elements that any order of computing one product moves between DRAM and a buffer of `buffer_elems`.
struct GemmLowerBound {
  int64_t compulsory = 0;  ///< m k + k n + m n: everything once
  int64_t capacity = 0;    ///< 2 m n k / sqrt(S) - 2 S (Smith et al., arXiv 1702.02017), at least 0
  int64_t elems() const { return compulsory > capacity ? compulsory : capacity; }
};
GemmLowerBound gemm_lower_bound(int64_t m, int64_t n, int64_t k, int64_t buffer_elems);

}  // namespace mbs
