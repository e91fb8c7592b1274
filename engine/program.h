// A schedule made explicit: for every pass the steps of one chunk, with what each step touches. The executor
// runs it, the memory plan takes lifetimes from it, events are stamped from it.
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include "engine/dataflow.h"
#include "engine/network.h"
#include "engine/schedule.h"

namespace mbs {

/// What a buffer holds.
enum class BufferKind : uint8_t {
  value,
  recomputed,  ///< a value that a backward pass makes again
  gradient,
  aux,
  batch_aux,
  forward_scratch,
  backward_scratch,
  recompute_scratch
};

/// A piece of memory, named by what it holds: value, recomputed and gradient by tensor, the others by node.
struct BufferName {
  BufferKind kind;
  int id;
  auto operator<=>(const BufferName&) const = default;
};

/// One kernel call of a chunk.
struct Step {
  Phase phase = Phase::forward;
  NodeId node = 0;
  bool recompute = false;           ///< a forward call in a backward pass
  std::vector<Operand> operands;    ///< elems of features, gradients and masks are per sample
  std::vector<BufferName> touches;  ///< all buffers that the call reads or writes
  std::vector<uint8_t> dx_wanted;   ///< backward: per input, whether this call contributes to its gradient
  std::vector<uint8_t> dx_added;    ///< ... and whether it adds to what is there
};

/// A schedule for one network.
struct Program {
  struct PassSteps {
    Pass pass;
    std::vector<Step> steps;
  };
  int batch = 1;
  bool training = true;  ///< it has backward passes
  std::vector<PassSteps> passes;
};

/// Error: an invalid schedule (see validate()).
Program compile(const Network&, const Dataflow&, const Schedule&);

/// Walks the program over `samples` samples without doing any arithmetic: the events of a real step, from
/// nothing.
void dry_run(const Network&, const Schedule&, int samples, Recorder&);

/// The same with one event for all equal calls of a pass: its first chunk, one chunk for all others of that
/// size, and a smaller last one. Sums over the events, each times its `repeat`, are those of dry_run().
void folded_dry_run(const Network&, const Schedule&, int samples, Recorder&);

/// Stamps the event of one step and hands it to the recorder.
class EventSource {
 public:
  EventSource(const Network& network, Recorder* recorder) : network_(network), recorder_(recorder) {}
  /// `repeat` chunks from `chunk` on, each of `samples` samples; `first` is the first sample of the first one
  /// within the core's batch.
  void emit(const Step&, const Pass&, int pass, int chunk, int first, int samples, int64_t repeat = 1);

 private:
  const Network& network_;
  Recorder* recorder_;
  std::vector<Operand> operands_;
};

}  // namespace mbs
