// From a network, a buffer and an order to a schedule: which blocks share a sub-batch, and how many samples
// it has.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/network.h"
#include "engine/schedule.h"
#include "mbs/order.h"
#include "mbs/traffic.h"

namespace mbs {

/// The largest batch of one core that is planned for: it keeps all sums far from the limits of int64_t.
inline constexpr int kMaxBatch = 1 << 20;

/// What to plan for.
struct PlanOptions {
  Order order = Order::mbs2;
  int batch = 32;                            ///< samples of one core
  int64_t buffer_bytes = int64_t{10} << 20;  ///< on-chip buffer of one core; the baseline keeps nothing in it
  TrafficRules rules;
  Grouping grouping = Grouping::greedy;
  bool spill =
      false;  ///< a block that does not fit with one sample runs layer by layer instead of being refused
  Recompute recompute = Recompute::joins;  ///< mbs_r: the most that its backward passes may make again
};

/// Consecutive blocks that share a sub-batch.
struct Group {
  int first_block = 0, last_block = 0;  ///< [first, last] in Network::blocks()
  Treatment treatment = Treatment::layerwise;
  std::vector<int> kept = {};  ///< blocks whose input is stored although the treatment could make it again
  int sub_batch = 1;           ///< samples of a chunk
  int iterations = 1;          ///< chunks per pass, ceil(batch / sub_batch)
  int64_t footprint_bytes_per_sample = 0;  ///< the largest of its blocks
  int64_t weight_bytes = 0;                ///< all parameters of its blocks

  bool operator==(const Group&) const = default;
};

/// A schedule and where it came from.
struct Plan {
  std::string network;
  Order order = Order::baseline;
  int64_t buffer_bytes = 0;
  TrafficRules rules;
  std::vector<Group> groups;  ///< first to last block; the backward passes run the same groups last to first
  std::vector<int> spilled;   ///< blocks that do not fit the buffer with one sample, and run layer by layer
  Schedule schedule;
  Traffic predicted;  ///< DRAM bytes of one training step of one core

  bool operator==(const Plan&) const = default;
};

/// The smallest buffer that `options.order` fits in with one sample: what its largest block needs.
int64_t smallest_buffer_bytes(const Network&, const PlanOptions& options);

/// The blocks that do not fit the buffer with one sample in the treatment of the order.
std::vector<int> spilled_blocks(const Network&, const PlanOptions& options);

/// Plans a training step. Error: a batch outside [1, kMaxBatch], a buffer below 1, a block that does not fit
/// the buffer with one sample (names the block, what it needs and the smallest buffer that works), or a layer
/// that couples samples which an MBS order would split (engine's validate).
Plan make_plan(const Network&, const PlanOptions&);

/// A group of plan_with_groups(): it reaches to the next one.
struct GroupChoice {
  int first_block;
  Treatment treatment;
  std::vector<int> kept =
      {};  ///< blocks inside whose input is stored although the treatment could make it again
};
/// The plan with the given groups (ascending, the first at block 0). Error: as make_plan.
Plan plan_with_groups(const Network&, const PlanOptions&, const std::vector<GroupChoice>&);
/// The same in the treatment of the order: group i starts at block `first_blocks[i]`.
Plan plan_with_groups(const Network&, const PlanOptions&, const std::vector<int>& first_blocks);

/// The first and the last block of a group, "conv1 .. layer2.0", or the only one.
std::string group_name(const Network&, const Group&);

/// The sub-batch of every group; of the baseline, which has none, the batch.
std::vector<int> sub_batches(const Plan&);

/// One line per group: blocks, sub-batch, iterations, bytes per sample, weight bytes.
std::string group_table(const Network&, const Plan&);

}  // namespace mbs
