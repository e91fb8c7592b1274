// What a training step costs on a modelled machine: DRAM traffic, time and energy, from the events of a run,
// real or dry. docs/wavecore.md states the rules.
//
// In two halves. The Simulator listens to one core and counts the work of every layer in each direction: that
// depends on the array, and not on the memory. step_cost() turns work into seconds and joules of a chip of
// equal cores.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/event.h"
#include "engine/words.h"
#include "wavecore/accountant.h"
#include "wavecore/machine.h"

namespace mbs {

/// The work of some kernel calls of one core.
struct KernelWork {
  int64_t dram_read_bits = 0, dram_write_bits = 0;
  GemmCycles array;          ///< of all matrix products, one after the other; every chunk's is its own
  int64_t vector_elems = 0;  ///< what calls without a matrix product read, once for every sweep
  int64_t global_buffer_bytes = 0, local_buffer_bytes = 0, accumulator_bytes = 0;  ///< in and out

  KernelWork& operator+=(const KernelWork&);
  double dram_bytes() const { return static_cast<double>(dram_read_bits + dram_write_bits) / 8; }
};

/// The work of a layer in one direction, all chunks together.
struct LayerWork {
  Phase phase = Phase::forward;
  int node = 0;
  std::string name, spec;
  KernelWork work;
};

/// The work of a training step of one core.
struct StepWork {
  Traffic traffic;
  std::vector<LayerWork> layers;  ///< in the order of their first calls
};

/// Counts the work of one core. Matrix products run weight stationary, with row tiles of Machine::tile_rows.
class Simulator : public Recorder {
 public:
  /// `double_buffering`: every unit of the array holds its next weight while it uses the current one.
  Simulator(const Machine& machine, const CountingRules& rules, bool double_buffering);

  void on_kernel(const KernelEvent&) override;
  /// What was done since the last reset().
  StepWork work() const;
  void reset();

 private:
  KernelWork& row(const KernelEvent&);
  void count_gemms(const KernelEvent&, KernelWork&) const;
  void count_vector(const KernelEvent&, KernelWork&) const;

  ArrayShape array_;
  CycleModel cycle_model_;
  CountingRules rules_;
  Accountant accountant_;
  std::vector<LayerWork> layers_;
  std::array<std::vector<int>, 2> index_;  ///< [phase][node]: its place in layers_; -1: none
};

/// How much of the array's, the vector units' and the DRAM's time runs side by side.
enum class Overlap : uint8_t {
  layer,  ///< within a layer and direction; the next one begins when all three are done
  step,   ///< all of the step: no order of work beats it
  none,   ///< nothing
};
constexpr auto words_of(Overlap) { return EnumWords{"overlap rule", "layer", "step", "none"}; }

/// What sets the pace.
enum class Bound : uint8_t { array, vector, dram };
constexpr auto words_of(Bound) { return EnumWords{"bound", "array", "vector", "DRAM"}; }

/// Seconds that each part of the machine is at work.
struct PartSeconds {
  double array = 0, vector = 0, dram = 0;

  double sum() const { return array + vector + dram; }
  double longest() const;
  /// The part that is at work for the longest; of equals, the first of the enum.
  Bound bound() const;
};

/// A core does this much work in this time. Each of the chip's cores has an equal share of the DRAM
/// bandwidth.
PartSeconds part_seconds(const Machine&, const KernelWork&);

/// Joules by part. DRAM covers what moves; its standby power is part of `idle`.
struct Energy {
  double dram = 0, mac = 0, global_buffer = 0, local_buffer = 0 /* accumulators too */, vector = 0, idle = 0;

  double total() const { return dram + mac + global_buffer + local_buffer + vector + idle; }
};

/// A training step of a chip: all cores work side by side, each on as many samples as the one that was
/// counted.
struct StepCost {
  Traffic traffic;           ///< bytes of all cores
  int64_t macs = 0;          ///< of all cores
  int64_t array_cycles = 0;  ///< of one core
  double utilization = 0;    ///< macs per unit and cycle of array_cycles
  PartSeconds alone;         ///< what each part takes
  PartSeconds paced_by;      ///< the step's seconds by what set the pace
  double seconds = 0;        ///< of the step
  Energy energy;             ///< of the chip and its DRAM

  Bound bound() const { return paced_by.bound(); }
};

/// Time under the given rule, and energy: every count times its constant of the machine, and static power
/// times time.
StepCost step_cost(const Machine&, const StepWork&, Overlap);

}  // namespace mbs
