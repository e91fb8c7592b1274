// Random valid schedules: passes that start and end anywhere, also inside modules, with any sub-batch and
// reuse, and not the same ones backward as forward.
#pragma once

#include <algorithm>

#include "engine/random.h"
#include "engine/schedule.h"

namespace mbs::tests {

inline Schedule random_schedule(const Network& network, int batch, uint64_t seed) {
  const Random random(seed, Stream::test);
  uint64_t i = 0;
  const auto reuse = [&] { return static_cast<Reuse>(random.below(i++, 3)); };
  const auto length = [&] { return 1 + static_cast<int>(random.below(i++, 9)); };
  const auto sub_batch = [&] {
    return 1 + static_cast<int>(random.below(i++, static_cast<uint64_t>(batch)));
  };
  Schedule s{"random", batch, {}};
  const NodeId end = network.node_count() - 1;
  for (NodeId n = 0; n <= end;) {
    const NodeId last = std::min(end, n + length() - 1);
    s.passes.push_back({Phase::forward, n, last, sub_batch(), reuse()});
    n = last + 1;
  }
  for (NodeId n = end; n >= 0;) {
    const NodeId first = std::max(0, n - length() + 1);
    s.passes.push_back({Phase::backward, first, n, sub_batch(), reuse()});
    n = first - 1;
  }
  return s;
}

}  // namespace mbs::tests
