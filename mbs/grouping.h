// The searches for groups: greedy as published, the best of all, and the best with values made again.
#pragma once

#include <vector>

#include "mbs/group_sizes.h"

namespace mbs {

/// Merges neighbours of `groups` as long as that lowers the predicted traffic.
std::vector<GroupChoice> greedy_groups(const Network&, const PlanOptions&, const GroupSizes&,
                                       std::vector<GroupChoice> groups);

/// The least traffic of all contiguous groups in the treatments of the order and of lesser ones.
std::vector<GroupChoice> optimal_groups(const Network&, const PlanOptions&, const GroupSizes&);

/// The same for Order::mbs_r, which also chooses the values that are kept.
std::vector<GroupChoice> recomputing_groups(const Network&, const PlanOptions&, const GroupSizes&);

}  // namespace mbs
