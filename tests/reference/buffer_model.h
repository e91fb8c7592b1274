// The third witness of traffic: an on-chip buffer as a set of data, replaying the events of a run. Of an
// event it believes who touches what and when (pass, chunk, reuse, node, role, tensor, access, elems, sweeps)
// and none of the answers (local, chained, sum_local, stored): those it finds out from what it has seen. A
// version of the data is written to DRAM if somebody fetches it from there, or if nobody ever reads it. The
// rules are those of docs/accounting.md.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "engine/event.h"
#include "engine/network.h"
#include "engine/schedule.h"
#include "mbs/traffic.h"

namespace mbs::reference {

/// What a pass that keeps the data of a chunk (Reuse::group and hold) has on chip.
struct Occupancy {
  int pass;
  Phase phase;
  Reuse reuse;
  bool recomputes;     ///< the pass makes values again
  int64_t peak_elems;  ///< the most at once, in its hungriest chunk
};

/// When data are on chip in a chunk, and so how many at once. A call needs what it reads and what it writes,
/// apart from each other; before and after, that is on chip what other calls still need or have left for
/// later ones. What streams from DRAM takes no space: stored features (under hold those that are read only
/// once), and under group values that are made again for the very next call.
class Residents {
 public:
  enum class Kind : uint8_t { value, stored_value, made_value, gradient };

  /// The next event of the chunk.
  void step(bool recompute) { recompute_.push_back(recompute); }
  /// It touches `elems` elements of `tensor`.
  void touch(Kind, TensorId tensor, int64_t elems);
  /// Ends the chunk: the largest sum of elements that were on chip in one of its events.
  int64_t peak(Reuse);

 private:
  struct Life {
    int first, last, touches;
    int64_t elems;
  };
  bool streams(Kind, const Life&, Reuse) const;

  std::map<std::pair<Kind, TensorId>, Life> lives_;
  std::vector<bool> recompute_;  ///< by event of the chunk
};

/// Listens to one step of one core: all its events, in order, of a dry run or a folded one.
///
/// Not modelled, and in no network of ours: a concatenation that an add reads, and a concatenation whose part
/// is read by a later layer too.
class BufferModel : public Recorder {
 public:
  BufferModel(const Network&, const TrafficRules&);

  /// Error: the event reads what nobody has written.
  void on_kernel(const KernelEvent&) override;

  /// DRAM bytes of all events so far, rounded up once per class and direction.
  Traffic traffic() const;
  /// Ends the step. By pass, those of Reuse::group and hold.
  std::vector<Occupancy> occupancy();

 private:
  /// What one operand of one kernel call writes, in all chunks of its pass.
  struct Version {
    Role role = Role::none;
    int64_t elems = 0;
    NodeId writer = -1;
    bool sum_of_one_call = false;  // the call has contributed to the same sum before
    bool read = false, fetched = false,
         stored = false;  // by anybody; from DRAM; from there by a backward pass
  };
  using Place = std::vector<Version*>;  // by tensor: the version that lies there

  bool concatenates(TensorId) const;
  void start(const KernelEvent&);
  void end_chunk();
  int follow_branch(const KernelEvent&);
  bool on_branch(NodeId reader, const Operand&) const;
  static size_t side(const Operand& o) { return o.role == Role::gradient ? 1 : 0; }
  bool written_here(const Operand&) const;
  bool has_arrived(const Operand& o) const { return arrived_.contains({o.role, o.tensor}); }
  bool on_chip(const KernelEvent&, int operand, int chained) const;
  void read(const KernelEvent&, int operand, int chained);
  void write(const KernelEvent&, int operand);
  void occupy(const KernelEvent&, const Operand&);
  void move_parameters(const KernelEvent&, const Operand&);
  static void count(std::array<int64_t, kTrafficClasses>& bits, TrafficClass, int64_t moved);

  const Network& network_;
  const TrafficRules rules_;
  std::vector<std::vector<TensorId>> atoms_;  // by tensor: itself, or what a concatenation consists of
  std::vector<NodeId> first_reader_;          // by tensor, in forward; -1: nobody yet
  std::vector<NodeId> next_;                  // by tensor: the node that follows in the branch; -1: none
  std::map<std::array<int, 3>, Version> versions_;  // by pass, node and operand
  std::array<Place, 2> before_,
      here_;  // features and gradients: left by earlier passes, written in the chunk
  std::set<std::pair<Role, TensorId>> arrived_;  // fetched in the chunk
  std::set<TensorId> made_again_;                // values, in the chunk
  std::array<int64_t, kTrafficClasses> read_bits_{}, write_bits_{};
  int pass_ = -1, chunk_ = -1;
  Residents residents_;
  std::map<int, Occupancy> occupancy_;  // by pass
};

/// What the model finds in a dry run of the schedule. Error: a folded dry run says otherwise.
Traffic replayed_traffic(const Network&, const Schedule&, const TrafficRules&);

}  // namespace mbs::reference
