// The modelled accelerator as data. Every constant has a value, a unit and a source; docs/wavecore.md lists
// them and says how sure each is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "wavecore/systolic.h"

namespace mbs {

/// The DRAM of a chip, shared by its cores.
struct Memory {
  std::string name;
  double gib_per_s = 0;   ///< peak, all devices together; 1 GiB = 2^30 bytes
  double pj_per_bit = 0;  ///< of data moved, interface included
  double static_w = 0;    ///< standby and refresh, all devices together
  double efficiency = 1;  ///< share of the peak that is reached, in (0, 1]

  double bytes_per_s() const { return gib_per_s * 0x1p30 * efficiency; }
  double pj_per_byte() const { return 8 * pj_per_bit; }
  bool operator==(const Memory&) const = default;
};

/// What a byte costs in a global buffer of one size.
struct BufferEnergy {
  int64_t bytes = 0;
  double pj_per_byte = 0;
  bool operator==(const BufferEnergy&) const = default;
};

/// A chip of equal cores, each with an array, local buffers and a global buffer of its own.
struct Machine {
  std::string name;
  int chip_cores = 0;
  int array_rows = 0, array_cols = 0;  ///< multiply-accumulate units of a core
  int tile_rows = 0;                   ///< rows of results that a core's accumulators hold; 0: no limit
  double clock_ghz = 0;
  int64_t global_buffer_bytes = 0;                   ///< of a core
  int64_t local_a_bytes = 0;                         ///< of a core, one of its two halves: a streamed tile
  int64_t local_b_bytes = 0;                         ///< ... a stationary tile
  int64_t accumulator_bytes = 0;                     ///< of a core
  double vector_elems_per_cycle = 0;                 ///< of a core; 0: vector work takes no time
  Memory memory;                                     ///< of the chip
  double mac_pj = 0;                                 ///< one multiply-accumulate
  std::vector<BufferEnergy> global_buffer_energy{};  ///< one or several sizes, ascending
  double local_buffer_pj_per_byte = 0, accumulator_pj_per_byte = 0;
  double vector_pj_per_elem = 0;
  double static_w = 0;  ///< of the chip without its DRAM

  ArrayShape array() const { return {array_rows, array_cols, tile_rows}; }
  /// Energy of a byte in a global buffer of this size: a straight line of log(energy) over log(size) between
  /// the sizes of global_buffer_energy, continued beyond the first and the last.
  double global_buffer_pj_per_byte(int64_t bytes) const;
  double cycles_per_s() const { return clock_ghz * 1e9; }
  bool operator==(const Machine&) const = default;
};

/// The names of the presets, the first one being the default.
std::vector<std::string> machine_names();
std::vector<std::string> memory_names();

/// A preset, or the machine that a JSON file describes (a name that ends in ".json" or holds a "/"): an
/// object as machine_text() prints it, or one with "base": the name of a preset, and the keys that differ.
/// `memory` is the name of a memory preset or an object of the same kind. Error: usage for a name that does
/// not exist (lists those that do). Error: a file that cannot be read, is not JSON, lacks a key, has an
/// unknown one (names the nearest), a wrong unit, no source, or an impossible value; the message names the
/// file and the key.
Machine load_machine(const std::string& name_or_file);
Memory memory_preset(const std::string& name);

/// The JSON text of a machine with all its constants, units and sources, as a file for load_machine(). Takes
/// and throws what load_machine() does.
std::string machine_text(const std::string& name_or_file);

/// Error: a size or rate that is not positive, a negative energy, a buffer that does not hold one tile of the
/// array; the message names the key.
void validate(const Machine&);

}  // namespace mbs
