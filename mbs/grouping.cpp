#include "mbs/grouping.h"

#include <algorithm>
#include <limits>

#include "mbs/group_costs.h"

namespace mbs {

// Merges two neighbouring groups as long as that lowers the predicted traffic, the best merge first (of
// equals, the one nearest to the input).
std::vector<GroupChoice> greedy_groups(const Network& network, const PlanOptions& options,
                                       const GroupSizes& sizes, std::vector<GroupChoice> groups) {
  const int blocks = static_cast<int>(network.blocks().size());
  const Treatment serialized = natural_treatment(options.order);
  const GroupCosts costs(network, options, serialized);
  const auto cost = [&](int first, int last) {
    return costs.bits(first, last, sizes.iterations(serialized, first, last));
  };
  const auto end_of = [&](size_t g) { return g + 1 < groups.size() ? groups[g + 1].first_block : blocks; };
  while (true) {
    int64_t best = 0;
    size_t merged = 0;
    for (size_t g = 1; g < groups.size(); ++g) {
      if (groups[g - 1].treatment != serialized || groups[g].treatment != serialized) continue;
      const int first = groups[g - 1].first_block, middle = groups[g].first_block, last = end_of(g) - 1;
      const int64_t change = cost(first, last) - cost(first, middle - 1) - cost(middle, last);
      if (change >= best) continue;
      best = change;
      merged = g;
    }
    if (merged == 0) return groups;
    groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(merged));
  }
}

// Costs of groups add up, so the best grouping of the first blocks is the best last group after the best
// grouping of those before it.
std::vector<GroupChoice> optimal_groups(const Network& network, const PlanOptions& options,
                                        const GroupSizes& sizes) {
  const int blocks = static_cast<int>(network.blocks().size());
  struct Best {
    int64_t bits;
    GroupChoice last;
  };
  // An order may do what a lesser one does; of equals, the one that keeps most is taken.
  std::vector<Treatment> treatments = {Treatment::chain, Treatment::layerwise};
  if (options.order != Order::mbs1) treatments.insert(treatments.begin(), Treatment::group);
  std::vector<Best> best(static_cast<size_t>(blocks) + 1, {std::numeric_limits<int64_t>::max(), {}});
  best[0].bits = 0;
  std::vector<GroupCosts> costs;
  for (const Treatment treatment : treatments) costs.emplace_back(network, options, treatment);
  for (int first = 0; first < blocks; ++first) {
    const int64_t before = best[static_cast<size_t>(first)].bits;
    for (int last = first; last < blocks; ++last) {
      Best& here = best[static_cast<size_t>(last) + 1];
      for (size_t t = 0; t < treatments.size(); ++t) {
        if (!sizes.fits(treatments[t], first, last)) continue;
        const int64_t bits =
            before + costs[t].bits(first, last, sizes.iterations(treatments[t], first, last));
        if (bits < here.bits) here = {bits, {first, treatments[t]}};
      }
    }
  }
  std::vector<GroupChoice> groups;
  for (int end = blocks; end > 0; end = groups.front().first_block)
    groups.insert(groups.begin(), best[static_cast<size_t>(end)].last);
  return groups;
}

}  // namespace mbs
