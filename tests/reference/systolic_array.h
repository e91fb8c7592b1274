// A systolic array simulated unit by unit and cycle by cycle: the independent witness of the closed forms of
// wavecore/systolic.h. It computes the product too, so that a schedule in which an operand comes too late, or
// is replaced too early, gives a wrong result instead of a short time.
//
// Each unit holds an operand or a sum, and registers for what passes by: one hop a cycle, streamed operands
// to the right, sums (or the other operand) down, operands to be held and results down a bus on which each is
// taken by, or taken from, the row that it names. What a sequencer issues in one cycle reaches unit (r, c)
// after r + c cycles. With one register a unit works or is loaded, so a cycle issues one or the other.
#pragma once

#include <cstdint>
#include <vector>

#include "wavecore/systolic.h"

namespace mbs::reference {

struct SimulatedGemm {
  int64_t cycles = 0, folds = 0;
  std::vector<int64_t> c;  ///< [m][n]
};

/// Runs C[m][n] = A[m][k] B[k][n]; a and b are row by row. `model` is not scalesim. With `hurry`, every fold
/// begins one cycle before the array is ready for it.
SimulatedGemm simulate_gemm(const std::vector<int64_t>& a, const std::vector<int64_t>& b, int64_t m,
                            int64_t n, int64_t k, const ArrayShape& array, ArrayDataflow dataflow,
                            CycleModel model, bool hurry = false);

}  // namespace mbs::reference
