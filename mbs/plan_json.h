// A plan as JSON: for other programs, and to load it again.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "mbs/planner.h"

namespace mbs {

/// DRAM bytes by class, read and written together: {"features": 123, ...}.
nlohmann::ordered_json traffic_to_json(const Traffic&);

/// network, order, batch_size, buffer_bytes, accounting, space, feature_bits, partial_sum_bits,
/// pool_index_bits, max_sweeps, fused, dram_bytes_per_step, dram_bytes_by_class, groups[]{first, last
/// (indices of blocks), blocks (their names), treatment, kept[] (indices of blocks), sub_batch, iterations,
/// footprint_bytes_per_sample, weight_bytes}, spilled[] (indices of blocks), kept[] (names of nodes),
/// passes[]{phase, first, last (names of nodes), sub_batch, reuse, recompute}.
nlohmann::ordered_json plan_to_json(const Network&, const Plan&);

/// Reads what plan_to_json wrote. Everything that can be worked out from the network is checked against it.
/// Error: not JSON, a field missing or of another type, another network, an invalid schedule; the message
/// names the field.
Plan plan_from_json(const Network&, const std::string& text);

}  // namespace mbs
