// One order of a comparison in a process of its own, so that its peak memory is its own. It trains when it is
// told to, one step at a time, and leaves its weights in shared memory after each.
//
// The parent writes one byte per step and closes its end to finish. The worker answers each with a line of
// JSON:
//   first     {"elems": N, "steps": total, "batches": per epoch, "buffer_bytes", "buffer_note"}
//   a step    {"loss", "seconds"}, and at the end of an epoch "train_acc", "train_loss", "val_acc",
//   "val_loss" the end   {"peak_rss_bytes", "dram_read": [by class], "dram_written": [...]}
#pragma once

#include "apps/options/options.h"

namespace mbs {

/// What a worker is given: file descriptors.
struct WorkerPipes {
  int commands = -1;  ///< read
  int answers = -1;   ///< written
  int weights = -1;   ///< shared memory, grown by the worker to Network::param_array_elems() reals
};

/// The worker's life, in a ChildProcess.
void compare_worker(const ExperimentOptions& options, const WorkerPipes& pipes);

}  // namespace mbs
