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

/// Stands for a group that is too large to be worth looking at.
inline constexpr int64_t kTooLarge = int64_t{1} << 40;

/// Elements per sample of every group of consecutive blocks, [first][last]: the largest sum of what lives at
/// once in its backward pass (gradients, values made again, and, under Reuse::hold, stored values that are
/// read more than once), and what its blocks need in the forward pass (footprint_elems). Under Reuse::group,
/// values stream from DRAM for each use, and one that is made again for the very next call is made on the
/// way: norm and ReLU are element-wise once the statistics are known (a convolution is not). kTooLarge for
/// groups far above `most_elems`, and for those that cannot begin there.
std::vector<std::vector<int64_t>> recompute_footprints(const Network&, Space, Recompute, Reuse backward,
                                                       int64_t most_elems);

}  // namespace mbs
