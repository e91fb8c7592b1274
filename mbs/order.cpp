#include "mbs/order.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "engine/check.h"

namespace mbs {
namespace {

constexpr std::array<const char*, 6> kOrderNames = {"baseline", "il", "mbs-fs", "mbs1", "mbs2", "mbs-r"};
constexpr std::array<const char*, 9> kTreatmentNames = {
    "layerwise",      "chain",         "group",      "stream-branches",
    "stream-joins",   "hold-branches", "hold-joins", "stream-expansions",
    "hold-expansions"};
constexpr std::array<const char*, 2> kGroupingNames = {"greedy", "optimal"};

}  // namespace

const char* order_name(Order order) { return kOrderNames[static_cast<size_t>(order)]; }

std::vector<std::string> order_names() { return {kOrderNames.begin(), kOrderNames.end()}; }

Order parse_order(const std::string& name) {
  const auto found = std::find(kOrderNames.begin(), kOrderNames.end(), name);
  if (found == kOrderNames.end())
    fail_usage("unknown order '{}'; there are {}", name, fmt::join(kOrderNames, ", "));
  return static_cast<Order>(found - kOrderNames.begin());
}

const char* treatment_name(Treatment treatment) { return kTreatmentNames[static_cast<size_t>(treatment)]; }

std::vector<std::string> treatment_names() { return {kTreatmentNames.begin(), kTreatmentNames.end()}; }

const char* grouping_name(Grouping grouping) { return kGroupingNames[static_cast<size_t>(grouping)]; }

Grouping parse_grouping(const std::string& name) {
  const auto found = std::find(kGroupingNames.begin(), kGroupingNames.end(), name);
  if (found == kGroupingNames.end())
    fail_usage("unknown grouping '{}'; there are {}", name, fmt::join(kGroupingNames, ", "));
  return static_cast<Grouping>(found - kGroupingNames.begin());
}

}  // namespace mbs
