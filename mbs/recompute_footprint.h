// How much a group needs on chip that makes values again in its backward pass (MBS-R): unlike the footprint
// of the other orders this is a property of the group, not of its hungriest block. The first backward call
// that needs the input of a block makes that of all earlier blocks of the group again too, and they stay
// until they are used.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/network.h"
#include "engine/schedule.h"
#include "mbs/footprint.h"

namespace mbs {

/// Elements per sample of every group of consecutive blocks, [first][last]:
///   max over blocks b of  what b needs by itself: the largest sum of living gradients, values made again,
///   and (hold)
///                         stored values that are read more than once; never less than footprint_elems
///   + for every earlier block of the group: its output, and (hold) the stored values that it was made from
///   + (hold) b's own stored values, if b's output is made again too, or what the making of the others passes
///   through
///     if that is more.
/// `backward` is Reuse::group or Reuse::hold. Under group, values stream from DRAM for each use, and one that
/// is made again for the very next call is made on the way: norm and ReLU are element-wise once the
/// statistics are known. Never less than footprint_elems of the blocks, which the forward pass needs.
std::vector<std::vector<int64_t>> recompute_footprints(const Network&, Space, Recompute, Reuse backward);

/// The same as the exact peak of living tensors in the backward pass over the blocks [first, last]: what the
/// formula above bounds. Slow.
int64_t living_elems(const Network&, Space, Recompute, Reuse backward, int first_block, int last_block);

}  // namespace mbs
