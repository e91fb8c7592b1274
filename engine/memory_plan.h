// Where every buffer of a program lies. Lifetimes come from the program, offsets from the lifetimes; nothing
// is allocated while training.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/program.h"

namespace mbs {

/// One buffer in the arena of a core.
struct PlannedBuffer {
  BufferName name;
  bool whole_batch = false;  ///< it lives across passes and holds every sample of the core; else one chunk
  int64_t bytes_per_sample = 0;  ///< 0: the buffer does not grow with samples
  int64_t bytes = 0;             ///< its size
  int64_t offset = 0;            ///< multiple of 64
  int first = 0, last = 0;  ///< steps (counted through all passes) between which it must not be overwritten
};

struct MemoryPlan {
  std::vector<PlannedBuffer> buffers;
  int64_t arena_bytes = 0;

  /// CHECKs that there is one.
  const PlannedBuffer& find(const BufferName&) const;
};

/// Plans the memory of one core. `keep`: a tensor whose value is wanted after the step for every sample (the
/// loss).
MemoryPlan plan_memory(const Network&, const Program&, TensorId keep);

/// The first two buffers that overlap in memory while both live, as text; empty if there are none.
std::string find_overlap(const MemoryPlan&);

}  // namespace mbs
