// Counts DRAM bytes from the events of a run. It knows no network and no schedule: an event states what is
// read and written and where the other end of each hand-over is; what that costs follows from what the
// machine keeps on chip. The rules are written down in docs/accounting.md.
#pragma once

#include <array>
#include <cstdint>
#include <numeric>
#include <set>
#include <utility>

#include "engine/event.h"

namespace mbs {

/// What the accountant needs to know of the machine.
struct CountingRules {
  int feature_bits = 16;      ///< features, their gradients, and weights
  int partial_sum_bits = 16;  ///< weight gradients
  int pool_index_bits = 8;    ///< per output element of a max pooling
  int max_sweeps = 2;         ///< how often a call that cannot hold an operand on chip reads it at most
};

/// Listens to one core. reset() before a step, traffic() after it.
class Accountant : public Recorder {
 public:
  explicit Accountant(const CountingRules& rules) : rules_(rules) {}

  void on_kernel(const KernelEvent&) override;
  /// DRAM bytes since the last reset(), rounded up to whole bytes once per class and direction.
  Traffic traffic() const;
  void reset();

  /// DRAM bits since the last reset(), of all classes: what an event adds to them is its share of traffic().
  int64_t read_bits() const { return std::accumulate(read_bits_.begin(), read_bits_.end(), int64_t{0}); }
  int64_t write_bits() const { return std::accumulate(write_bits_.begin(), write_bits_.end(), int64_t{0}); }

 private:
  bool kept(const Operand&) const;
  bool keeps_chunk() const;
  bool arrives_again(const Operand&);
  void count_read(Phase, const Operand&);
  void count_write(Phase, const Operand&);
  void read(TrafficClass, int64_t elems, int bits);
  void write(TrafficClass, int64_t elems, int bits);

  CountingRules rules_;
  std::array<int64_t, kTrafficClasses> read_bits_{}, write_bits_{};
  int pass_ = -1, chunk_ = -1;  ///< of the last event, as are the next two
  Reuse reuse_ = Reuse::none;
  int64_t repeat_ = 1;
  std::set<std::pair<Role, int>> arrived_;  ///< what this chunk has read from DRAM
};

}  // namespace mbs
