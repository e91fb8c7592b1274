// The figures of simulated steps as one wide table, and the narrow ones that text shows of it.
#pragma once

#include <string>
#include <vector>

#include "apps/model/modelled_step.h"
#include "apps/report/table.h"

namespace mbs {

/// A step, and the Baseline step of the same network, batch, buffer and memory.
struct StepRow {
  std::string network;
  const SimulatedStep* step;
  const SimulatedStep* baseline;
};

/// One row per step with all figures. Bytes, seconds and joules are of the chip and one step; array_cycles of
/// one of its cores.
DataTable step_table(const std::vector<StepRow>& rows);

/// What `mbs simulate` prints of it: traffic, time, energy; `labels` are the keys of the first columns.
std::vector<DataTable> text_tables(const DataTable& steps, const std::vector<std::string>& labels);

}  // namespace mbs
