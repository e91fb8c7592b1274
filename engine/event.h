// What the executor tells an observer: one KernelEvent per kernel call. Events count elements and state facts
// of order; what they cost is the observer's business. This header is all that wavecore/ sees of the engine.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace mbs {

/// The direction of a pass.
enum class Phase : uint8_t { forward, backward };

/// What an operand of a kernel call is.
enum class Role : uint8_t {
  none,
  feature,          ///< a layer's input or output
  gradient,         ///< the gradient of a feature
  weight,           ///< trained parameters
  weight_gradient,  ///< partial sums of their gradients
  relu_mask,        ///< one flag per output element, kept for backward
  pool_index,       ///< one index per output element, kept for backward
};

/// What an order keeps on chip between the steps of a chunk.
enum class Reuse : uint8_t {
  none,   ///< nothing: layer by layer
  chain,  ///< what a layer hands to the next one of its branch (IL, MBS-FS, MBS1)
  group,  ///< everything that was made or read in the chunk (MBS2)
  hold,   ///< the same, stored tensors included: they are read once a chunk (MBS-R)
};

/// How a kernel call touches an operand.
enum class Access : uint8_t { read, write, accumulate /* read, add, write */ };

/// The classes that DRAM traffic is reported by.
enum class TrafficClass : uint8_t {
  features,         ///< what layers hand to layers in the forward passes
  stored_features,  ///< what is kept for the backward passes: its write in forward, its reads in backward
  feature_gradients,
  weights,
  weight_gradients,
  masks,  ///< ReLU masks and pooling indices
};
inline constexpr size_t kTrafficClasses = 6;
inline constexpr std::array<const char*, kTrafficClasses> kTrafficClassNames = {
    "features", "stored_features", "feature_gradients", "weights", "weight_gradients", "masks"};

/// DRAM bytes by class.
struct Traffic {
  std::array<int64_t, kTrafficClasses> read_bytes{}, write_bytes{};

  int64_t class_bytes(TrafficClass c) const {
    return read_bytes[static_cast<size_t>(c)] + write_bytes[static_cast<size_t>(c)];
  }
  int64_t total_bytes() const {
    int64_t sum = 0;
    for (size_t c = 0; c < kTrafficClasses; ++c) sum += read_bytes[c] + write_bytes[c];
    return sum;
  }
  Traffic& operator+=(const Traffic& other) {
    for (size_t c = 0; c < kTrafficClasses; ++c) {
      read_bytes[c] += other.read_bytes[c];
      write_bytes[c] += other.write_bytes[c];
    }
    return *this;
  }
  bool operator==(const Traffic&) const = default;
};

/// One matrix product C[m][n] += A[m][k] B[k][n].
struct GemmShape {
  enum class Kind : uint8_t { forward, data_gradient, weight_gradient };
  Kind kind;
  int64_t m, n, k;

  int64_t macs() const { return m * n * k; }
  bool operator==(const GemmShape&) const = default;
};

/// One operand of a kernel call.
///
/// `local` and `chained` say where the other end of the hand-over is. For a read: whether what is read was
/// made in this very chunk, and by the step that precedes this one in its branch. For a write or accumulate:
/// whether all its later readers are in this chunk, and follow next in the branch (`local` is false where
/// nothing reads it later). For an accumulate the reading half is described by `sum_local` (a partial sum is
/// never chained).
struct Operand {
  int tensor = 0;  ///< names the data: the same number is the same data within one role
  Role role = Role::none;
  Access access = Access::read;
  int64_t elems = 0;
  int sweeps = 1;        ///< how often a call that cannot hold it on chip reads it
  bool local = false;    ///< the other end is in the same pass and chunk
  bool chained = false;  ///< ... and adjacent in the same branch
  bool sum_local =
      false;            ///< accumulate only: the sum that it adds to was written in the same pass and chunk
  bool stored = false;  ///< forward write: kept for backward. backward read: a stored tensor, read from DRAM
  bool operator==(const Operand&) const = default;
};

/// One kernel call. Views are valid during on_kernel only.
struct KernelEvent {
  Phase phase = Phase::forward;
  int node = 0;
  std::string_view name;  ///< of the node: "layer1.0.conv1"
  std::string_view spec;  ///< of its layer: "conv2d out=16 kernel=3 pad=1"
  int pass = 0, chunk = 0;
  Reuse reuse = Reuse::none;  ///< of the pass
  bool recompute = false;     ///< a forward call in a backward pass, which makes again what was not stored
  int64_t repeat =
      1;  ///< it stands for so many equal calls of equal chunks, numbered from `chunk` (dry runs)
  int first_sample = 0, samples = 0;  ///< within the core's batch
  std::span<const GemmShape> gemms;
  std::span<const Operand> operands;
};

/// The parts of a training step beside its kernel calls, in their order. Those of a core run on its thread,
/// all others on the caller's.
enum class Stage : uint8_t {
  begin,      ///< nothing was done yet
  prepare,    ///< parameters are in the form that kernels read
  enter,      ///< of a core: its thread has come to it
  clear,      ///< of a core: its gradients are zero; kernel calls follow
  leave,      ///< all cores are done
  loss,       ///< losses are collected
  sum,        ///< gradients of all cores are summed, running statistics folded
  optimizer,  ///< parameters are updated
};
inline constexpr size_t kStages = 8;

/// Observes the training steps of one core. Every call says what has just ended, so that the time since the
/// last call is the time it took.
class Recorder {
 public:
  virtual ~Recorder() = default;
  virtual void on_kernel(const KernelEvent&) = 0;
  virtual void on_stage(Stage) {}
};

/// Tells all of them.
inline void report(std::span<Recorder* const> recorders, Stage stage) {
  for (Recorder* recorder : recorders) recorder->on_stage(stage);
}

}  // namespace mbs
