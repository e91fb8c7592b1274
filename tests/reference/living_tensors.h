// What lives at once in a backward pass, from the program that the executor would run: the other witness of
// mbs/recompute_footprint.h.
#pragma once

#include <cstdint>

#include "engine/network.h"
#include "engine/schedule.h"
#include "mbs/footprint.h"

namespace mbs::reference {

/// The largest sum of elements of one sample that live at once in the backward pass over the blocks [first,
/// last].
int64_t living_elems(const Network&, Space, Recompute, Reuse backward, int first_block, int last_block);

}  // namespace mbs::reference
