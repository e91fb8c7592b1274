// The words of planning: orders, groupings, and how a group runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/words.h"

namespace mbs {

/// The orders of a training step.
enum class Order : uint8_t {
  baseline,  ///< layer by layer over the whole batch
  il,      ///< the same; a layer hands to the next one on chip where both fit the buffer with the whole batch
  mbs_fs,  ///< fully serialized: one group, the smallest sub-batch that any block needs
  mbs1,    ///< groups; a layer hands to the next layer of its branch on chip
  mbs2,    ///< groups; everything made in a chunk stays on chip, also between branches
  mbs_r,   ///< mbs2 that stores no value which cheap layers can make again; grouped optimally
};

constexpr auto words_of(Order) {
  return EnumWords{"order", "baseline", "il", "mbs-fs", "mbs1", "mbs2", "mbs-r"};
}

/// How the blocks of mbs1 and mbs2 are grouped.
enum class Grouping : uint8_t {
  greedy,   ///< runs of equal iterations; then the best merge of neighbours, again and again, as in the paper
  optimal,  ///< the least traffic of all contiguous groupings and treatments, by a dynamic programme
};

constexpr auto words_of(Grouping) { return EnumWords{"grouping", "greedy", "optimal"}; }

/// How a group runs.
enum class Treatment : uint8_t {
  layerwise,  ///< not serialized: each layer over the whole batch; neighbours that fit the buffer hand over
              ///< on chip
  chain,      ///< in chunks, Reuse::chain
  group,      ///< in chunks, Reuse::group
  stream_branches,  ///< group; backward makes again what Recompute::branches says, on the way from DRAM
  stream_joins,     ///< ... what Recompute::joins says
  hold_branches,    ///< group; backward makes again what Recompute::branches says, and holds what it has read
  hold_joins,       ///< ... what Recompute::joins says
  stream_expansions,  ///< ... what Recompute::expansions says; convolutions not on the way, but on chip
  hold_expansions,    ///< ... what Recompute::expansions says, and holds what it has read
};

/// "layerwise", "chain", "group", "stream-branches", "stream-joins", "hold-branches", "hold-joins",
/// "stream-expansions", "hold-expansions".
const char* treatment_name(Treatment);
/// All names, in the order of the enum.
std::vector<std::string> treatment_names();

}  // namespace mbs
