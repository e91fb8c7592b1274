#include "mbs/planner.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include "engine/check.h"
#include "mbs/footprint.h"
#include "mbs/group_costs.h"
#include "mbs/recompute_footprint.h"

namespace mbs {
namespace {

constexpr std::array<const char*, 6> kOrderNames = {"baseline", "il", "mbs-fs", "mbs1", "mbs2", "mbs-r"};
constexpr std::array<const char*, 7> kTreatmentNames = {
    "layerwise", "chain", "group", "stream-branches", "stream-joins", "hold-branches", "hold-joins"};
constexpr std::array<const char*, 2> kGroupingNames = {"greedy", "optimal"};

constexpr std::array kRecomputing = {Treatment::hold_joins, Treatment::stream_joins, Treatment::hold_branches,
                                     Treatment::stream_branches};
constexpr std::array kJoining = {Treatment::hold_joins, Treatment::stream_joins};

int blocks_of(const Network& network) { return static_cast<int>(network.blocks().size()); }

bool serializes(Order order) { return order != Order::baseline && order != Order::il; }

// How an order runs a group that fits.
Treatment natural_treatment(Order order) {
  if (!serializes(order)) return Treatment::layerwise;
  return order == Order::mbs2 || order == Order::mbs_r ? Treatment::group : Treatment::chain;
}

std::vector<int64_t> block_footprints(const Network& network, const PlanOptions& options,
                                      Treatment treatment) {
  const Sharing sharing = treatment == Treatment::group ? Sharing::across_branches : Sharing::within_branch;
  std::vector<int64_t> bytes;
  for (const Block& block : network.blocks())
    bytes.push_back(
        footprint_bytes(network, block, options.rules.space, sharing, options.rules.feature_bits));
  return bytes;
}

int64_t block_weight_bytes(const Network& network, int first, int last, int bits) {
  int64_t elems = 0;
  for (const ParamInfo& p : network.params()) {
    const int block = network.node(p.node).block;
    if (first <= block && block <= last) elems += p.elems;
  }
  return (elems * bits + 7) / 8;
}

[[noreturn]] void refuse(const Network& network, const PlanOptions& options,
                         const std::vector<int64_t>& footprints, int block) {
  const int64_t largest = *std::max_element(footprints.begin(), footprints.end());
  fail(
      "order {}: block '{}' of {} needs {} bytes on chip for one sample, but the buffer has {} bytes; the "
      "smallest buffer that works for this network is {} bytes (--buffer {}KiB)",
      order_name(options.order), network.blocks()[static_cast<size_t>(block)].name, network.name(),
      footprints[static_cast<size_t>(block)], options.buffer_bytes, largest, (largest + 1023) / 1024);
}

void check_options(const Network& network, const PlanOptions& options) {
  if (options.batch < 1 || options.batch > kMaxBatch)
    fail_usage("the batch of a core is {}; it must be between 1 and {}", options.batch, kMaxBatch);
  if (options.buffer_bytes < 1)
    fail_usage("the buffer has {} bytes; it must have at least 1", options.buffer_bytes);
  CHECK(network.node_count() > 0, "a network without nodes");
}

// Largest sub-batch that fits, at least 1 and at most the batch.
int sub_batch(const PlanOptions& options, int64_t footprint_bytes_per_sample) {
  const int64_t fits = options.buffer_bytes / std::max<int64_t>(footprint_bytes_per_sample, 1);
  return static_cast<int>(std::clamp<int64_t>(fits, 1, options.batch));
}

// Everything that is worked out once for a network and options.
class Planner {
 public:
  Planner(const Network& network, const PlanOptions& options)
      : network_(network),
        options_(options),
        within_(block_footprints(network, options, Treatment::chain)),
        across_(block_footprints(network, options, Treatment::group)) {
    if (options.order != Order::mbs_r) return;
    for (const Treatment t : kRecomputing) {
      const Keeping keeping = keeping_of(t);
      again_[t] = recompute_footprints(network, options.rules.space, keeping.recompute, keeping.backward,
                                       options.buffer_bytes * 8 / options.rules.feature_bits);
    }
  }

  Plan fully_serialized() const;
  Plan greedy() const;
  Plan optimal() const;
  Plan recomputing() const;
  Plan assemble(const std::vector<GroupChoice>&) const;
  /// The order's treatment, or layerwise where a block does not fit (which is refused unless it may spill).
  Treatment treatment_of(int block) const;

 private:
  int blocks() const { return blocks_of(network_); }
  const std::vector<int64_t>& footprints(Treatment t) const {
    return t == Treatment::group ? across_ : within_;
  }
  int64_t largest(Treatment t, int first, int last) const {
    const auto again = again_.find(t);
    if (again != again_.end()) {
      const int64_t elems = again->second[static_cast<size_t>(first)][static_cast<size_t>(last)];
      return (elems * options_.rules.feature_bits + 7) / 8;
    }
    const auto begin = footprints(t).begin();
    return *std::max_element(begin + first, begin + last + 1);
  }
  bool fits(Treatment t, int first, int last) const {
    return t == Treatment::layerwise || largest(t, first, last) <= options_.buffer_bytes;
  }
  int sub_batch(Treatment t, int first, int last) const {
    return t == Treatment::layerwise ? options_.batch : mbs::sub_batch(options_, largest(t, first, last));
  }
  int iterations(Treatment t, int first, int last) const {
    return (options_.batch - 1) / sub_batch(t, first, last) + 1;
  }
  std::vector<GroupChoice> equal_runs() const;
  Group make_group(const GroupChoice&, int last) const;
  std::vector<TensorId> crossing(int block) const;
  void add_passes(const Group&, std::vector<Pass>& forward) const;

  const Network& network_;
  const PlanOptions& options_;
  std::vector<int64_t> within_, across_;  // footprints of the blocks, without and with sharing of branches
  std::map<Treatment, std::vector<std::vector<int64_t>>> again_;  // of groups that recompute, in elements
};

Treatment Planner::treatment_of(int block) const {
  const Treatment natural = natural_treatment(options_.order);
  if (fits(natural, block, block)) return natural;
  if (!options_.spill) refuse(network_, options_, footprints(natural), block);
  return Treatment::layerwise;
}

Group Planner::make_group(const GroupChoice& choice, int last) const {
  Group group;
  group.first_block = choice.first_block;
  group.last_block = last;
  group.treatment = choice.treatment;
  group.kept = choice.kept;
  // What is kept parts a recomputing group: only values from there on are made again.
  int first = choice.first_block;
  for (size_t k = 0; k <= choice.kept.size(); ++k) {
    const int end = k < choice.kept.size() ? choice.kept[k] : last + 1;
    group.footprint_bytes_per_sample =
        std::max(group.footprint_bytes_per_sample, largest(choice.treatment, first, end - 1));
    first = end;
  }
  group.sub_batch = choice.treatment == Treatment::layerwise
                        ? options_.batch
                        : mbs::sub_batch(options_, group.footprint_bytes_per_sample);
  group.iterations = (options_.batch - 1) / group.sub_batch + 1;
  group.weight_bytes = block_weight_bytes(network_, choice.first_block, last, options_.rules.feature_bits);
  return group;
}

// The values that blocks from `block` on read of earlier ones.
std::vector<TensorId> Planner::crossing(int block) const {
  const NodeId first = network_.blocks()[static_cast<size_t>(block)].first;
  std::vector<TensorId> values;
  for (NodeId n = 0; n < first; ++n) {
    const TensorId t = network_.node(n).out;
    if (network_.tensor(t).uses.back().node >= first) values.push_back(t);
  }
  return values;
}

void Planner::add_passes(const Group& group, std::vector<Pass>& forward) const {
  const NodeId first = network_.blocks()[static_cast<size_t>(group.first_block)].first;
  const NodeId last = network_.blocks()[static_cast<size_t>(group.last_block)].last;
  if (group.treatment != Treatment::layerwise) {
    forward.push_back({Phase::forward, first, last, group.sub_batch, keeping_of(group.treatment).forward});
  } else if (options_.order == Order::baseline) {
    for (NodeId n = first; n <= last; ++n)
      forward.push_back({Phase::forward, n, n, options_.batch, Reuse::none});
  } else {
    for (const Pass& run : layerwise_runs(network_, options_, first, last)) forward.push_back(run);
  }
}

Plan Planner::assemble(const std::vector<GroupChoice>& choices) const {
  Plan plan;
  plan.network = network_.name();
  plan.order = options_.order;
  plan.buffer_bytes = options_.buffer_bytes;
  plan.rules = options_.rules;
  for (size_t g = 0; g < choices.size(); ++g) {
    const int last = (g + 1 < choices.size() ? choices[g + 1].first_block : blocks()) - 1;
    const Treatment treatment = choices[g].treatment;
    plan.groups.push_back(make_group(choices[g], last));
    if (treatment == Treatment::layerwise ||
        plan.groups.back().footprint_bytes_per_sample <= options_.buffer_bytes)
      continue;
    for (int b = choices[g].first_block; b <= last; ++b)
      if (!fits(treatment, b, b)) refuse(network_, options_, footprints(treatment), b);
    fail("order {}: blocks {} to {} do not fit the buffer as one group", order_name(options_.order),
         choices[g].first_block, last);
  }
  plan.spilled = spilled_blocks(network_, options_);
  plan.schedule = {order_name(options_.order), options_.batch, {}};
  std::vector<Pass>& passes = plan.schedule.passes;
  for (const Group& group : plan.groups) add_passes(group, passes);
  for (size_t p = passes.size(); p-- > 0;) {
    passes.push_back(passes[p]);
    passes.back().phase = Phase::backward;
  }
  for (const Group& group : plan.groups) {
    for (const int block : group.kept)
      for (const TensorId t : crossing(block)) plan.schedule.kept.push_back(t);
    const Keeping keeping = keeping_of(group.treatment);
    if (keeping.recompute == Recompute::nothing) continue;
    const NodeId first = network_.blocks()[static_cast<size_t>(group.first_block)].first;
    for (Pass& pass : passes) {
      if (pass.phase != Phase::backward || pass.first != first) continue;
      pass.reuse = keeping.backward;
      pass.recompute = keeping.recompute;
    }
  }
  plan.predicted = predicted_traffic(network_, plan.schedule, options_.rules);
  validate(network_, plan.schedule);
  return plan;
}

// Runs of neighbours in one treatment that need the same number of iterations.
std::vector<GroupChoice> Planner::equal_runs() const {
  std::vector<GroupChoice> groups;
  int previous = -1;
  for (int b = 0; b < blocks(); ++b) {
    const Treatment treatment = treatment_of(b);
    const int needed = treatment == Treatment::layerwise ? 0 : iterations(treatment, b, b);
    if (needed != previous) groups.push_back({b, treatment});
    previous = needed;
  }
  return groups;
}

// One sub-batch for all blocks that fit; those that do not stand between them.
Plan Planner::fully_serialized() const {
  std::vector<GroupChoice> groups;
  for (int b = 0; b < blocks(); ++b) {
    const Treatment treatment = treatment_of(b);
    if (groups.empty() || groups.back().treatment != treatment) groups.push_back({b, treatment});
  }
  Plan plan = assemble(groups);
  int smallest = options_.batch;
  for (const Group& g : plan.groups) smallest = std::min(smallest, g.sub_batch);
  for (Group& g : plan.groups) {
    if (g.treatment == Treatment::layerwise) continue;
    g.sub_batch = smallest;
    g.iterations = (options_.batch - 1) / smallest + 1;
  }
  for (Pass& pass : plan.schedule.passes) {
    const int block = network_.node(pass.first).block;
    for (const Group& g : plan.groups)
      if (g.first_block <= block && block <= g.last_block) pass.sub_batch = g.sub_batch;
  }
  plan.predicted = predicted_traffic(network_, plan.schedule, options_.rules);
  return plan;
}

// Merges two neighbouring groups as long as that lowers the predicted traffic, the best merge first (of
// equals, the one nearest to the input).
Plan Planner::greedy() const {
  std::vector<GroupChoice> groups = equal_runs();
  const Treatment serialized = natural_treatment(options_.order);
  const GroupCosts costs(network_, options_, serialized);
  const auto cost = [&](int first, int last) {
    return costs.bits(first, last, iterations(serialized, first, last));
  };
  const auto end_of = [&](size_t g) { return g + 1 < groups.size() ? groups[g + 1].first_block : blocks(); };
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
    if (merged == 0) return assemble(groups);
    groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(merged));
  }
}

// Costs of groups add up, so the best grouping of the first blocks is the best last group after the best
// grouping of those before it.
Plan Planner::optimal() const {
  struct Best {
    int64_t bits;
    GroupChoice last;
  };
  // An order may do what a lesser one does; of equals, the one that keeps most is taken.
  std::vector<Treatment> treatments = {Treatment::chain, Treatment::layerwise};
  if (options_.order != Order::mbs1) treatments.insert(treatments.begin(), Treatment::group);
  std::vector<Best> best(static_cast<size_t>(blocks()) + 1, {std::numeric_limits<int64_t>::max(), {}});
  best[0].bits = 0;
  std::vector<GroupCosts> costs;
  for (const Treatment treatment : treatments) costs.emplace_back(network_, options_, treatment);
  for (int first = 0; first < blocks(); ++first) {
    const int64_t before = best[static_cast<size_t>(first)].bits;
    for (int last = first; last < blocks(); ++last) {
      Best& here = best[static_cast<size_t>(last) + 1];
      for (size_t t = 0; t < treatments.size(); ++t) {
        if (!fits(treatments[t], first, last)) continue;
        const int64_t bits = before + costs[t].bits(first, last, iterations(treatments[t], first, last));
        if (bits < here.bits) here = {bits, {first, treatments[t]}};
      }
    }
  }
  std::vector<GroupChoice> groups;
  for (int end = blocks(); end > 0; end = groups.front().first_block)
    groups.insert(groups.begin(), best[static_cast<size_t>(end)].last);
  return assemble(groups);
}

// As optimal(), with groups of segments: at a segment's first block the value that crosses is stored, inside
// everything that can be is made again. Segments of one group share its number of iterations, so that is part
// of the state: the best way to the start of a block is known for every number of iterations of a group that
// goes on there, and for a group that ends there.
Plan Planner::recomputing() const {
  constexpr int64_t kNever = std::numeric_limits<int64_t>::max() / 4;
  struct Open {
    int64_t bits = kNever;
    int segment = 0;         // its first block
    bool continues = false;  // the group has begun before it
  };
  struct Closed {
    int64_t bits = kNever;
    GroupChoice group{0, Treatment::layerwise};  // that ends here, unless it has segments:
    int joining = -1, iterations = 0;            // an index into kJoining, and the state to look up in `open`
  };
  const auto size = static_cast<size_t>(blocks()) + 1;
  std::vector<Closed> closed(size);
  closed[0].bits = 0;
  const std::vector<Treatment> whole = {Treatment::hold_branches, Treatment::stream_branches,
                                        Treatment::group, Treatment::chain, Treatment::layerwise};
  std::map<Treatment, GroupCosts> costs;
  for (const Treatment t : whole) costs.emplace(t, GroupCosts(network_, options_, t));
  for (const Treatment t : kJoining) costs.emplace(t, GroupCosts(network_, options_, t));
  // What a group saves that does not end before block b: the same in every treatment that keeps the chunk.
  const GroupCosts& plain = costs.at(Treatment::group);
  const auto saved = [&](int b) {
    return b == 0 ? 0
                  : plain.bits(0, b - 1, 1) + plain.bits(b, blocks() - 1, 1) - plain.bits(0, blocks() - 1, 1);
  };
  std::vector<int> numbers;  // of iterations that some sub-batch has
  for (int n = options_.batch; n >= 1; n = (options_.batch - 1) / ((options_.batch - 1) / n + 1)) {
    numbers.push_back((options_.batch - 1) / n + 1);
    if (n == 1) break;
  }
  std::map<std::pair<int, int>, std::vector<Open>> open;  // [joining, iterations][block]
  for (int j = 0; j < static_cast<int>(kJoining.size()); ++j)
    for (const int iterations : numbers) open[{j, iterations}].resize(size);

  for (int first = 0; first < blocks(); ++first) {
    if (!can_begin_recomputing(network_, network_.blocks()[static_cast<size_t>(first)].first)) continue;
    const int64_t before = closed[static_cast<size_t>(first)].bits;
    for (int last = first; last < blocks(); ++last) {
      Closed& here = closed[static_cast<size_t>(last) + 1];
      for (const Treatment t : whole) {
        if (!fits(t, first, last)) continue;
        const int64_t bits = before + costs.at(t).bits(first, last, iterations(t, first, last));
        if (bits < here.bits) here = {bits, {first, t}, -1, 0};
      }
    }
    for (auto& [state, ways] : open) {
      const auto [joining, iterations_of_group] = state;
      const Treatment t = kJoining[static_cast<size_t>(joining)];
      const int64_t going_on = ways[static_cast<size_t>(first)].bits - saved(first);
      const bool continues = going_on < before;
      for (int last = first; last < blocks(); ++last) {
        if (!fits(t, first, last) || iterations(t, first, last) > iterations_of_group) continue;
        const int64_t bits = std::min(going_on, before) + costs.at(t).bits(first, last, iterations_of_group);
        Open& way = ways[static_cast<size_t>(last) + 1];
        if (bits < way.bits) way = {bits, first, continues};
        Closed& here = closed[static_cast<size_t>(last) + 1];
        if (bits < here.bits) here = {bits, {}, joining, iterations_of_group};
      }
    }
  }
  std::vector<GroupChoice> groups;
  for (int end = blocks(); end > 0; end = groups.front().first_block) {
    const Closed& last = closed[static_cast<size_t>(end)];
    GroupChoice group = last.group;
    if (last.joining >= 0) {
      const std::vector<Open>& ways = open.at({last.joining, last.iterations});
      group.treatment = kJoining[static_cast<size_t>(last.joining)];
      const Open* way = &ways[static_cast<size_t>(end)];
      for (; way->continues; way = &ways[static_cast<size_t>(way->segment)])
        group.kept.insert(group.kept.begin(), way->segment);
      group.first_block = way->segment;
    }
    groups.insert(groups.begin(), group);
  }
  return assemble(groups);
}

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

Grouping parse_grouping(const std::string& name) {
  const auto found = std::find(kGroupingNames.begin(), kGroupingNames.end(), name);
  if (found == kGroupingNames.end())
    fail_usage("unknown grouping '{}'; there are {}", name, fmt::join(kGroupingNames, ", "));
  return static_cast<Grouping>(found - kGroupingNames.begin());
}

Plan plan_with_groups(const Network& network, const PlanOptions& options,
                      const std::vector<GroupChoice>& groups) {
  check_options(network, options);
  const bool ascending = std::adjacent_find(groups.begin(), groups.end(), [](const auto& a, const auto& b) {
                           return a.first_block >= b.first_block;
                         }) == groups.end();
  CHECK(!groups.empty() && groups.front().first_block == 0 && ascending &&
            groups.back().first_block < blocks_of(network),
        "groups that are not ascending from 0 to {}", blocks_of(network) - 1);
  return Planner(network, options).assemble(groups);
}

Plan plan_with_groups(const Network& network, const PlanOptions& options,
                      const std::vector<int>& first_blocks) {
  std::vector<GroupChoice> groups;
  for (int first : first_blocks) groups.push_back({first, natural_treatment(options.order)});
  return plan_with_groups(network, options, groups);
}

int64_t smallest_buffer_bytes(const Network& network, const PlanOptions& options) {
  const std::vector<int64_t> footprints =
      block_footprints(network, options, natural_treatment(options.order));
  return *std::max_element(footprints.begin(), footprints.end());
}

std::vector<int> spilled_blocks(const Network& network, const PlanOptions& options) {
  std::vector<int> spilled;
  const Treatment natural = natural_treatment(options.order);
  if (natural == Treatment::layerwise) return spilled;
  const std::vector<int64_t> footprints = block_footprints(network, options, natural);
  for (int b = 0; b < blocks_of(network); ++b)
    if (footprints[static_cast<size_t>(b)] > options.buffer_bytes) spilled.push_back(b);
  return spilled;
}

Plan make_plan(const Network& network, const PlanOptions& options) {
  check_options(network, options);
  const Planner planner(network, options);
  switch (options.order) {
    case Order::baseline: {
      std::vector<GroupChoice> every_block;
      for (int b = 0; b < blocks_of(network); ++b) every_block.push_back({b, Treatment::layerwise});
      return planner.assemble(every_block);
    }
    case Order::il:
      return planner.assemble({{0, Treatment::layerwise}});
    case Order::mbs_fs:
      return planner.fully_serialized();
    default:
      if (options.order == Order::mbs_r) return planner.recomputing();
      return options.grouping == Grouping::greedy ? planner.greedy() : planner.optimal();
  }
}

std::string group_table(const Network& network, const Plan& plan) {
  std::string text = fmt::format("{:<32} {:>9} {:>10} {:>14} {:>14}\n", "group", "sub-batch", "iterations",
                                 "bytes/sample", "weight bytes");
  for (const Group& group : plan.groups) {
    const std::string& first = network.blocks()[static_cast<size_t>(group.first_block)].name;
    const std::string& last = network.blocks()[static_cast<size_t>(group.last_block)].name;
    text +=
        fmt::format("{:<32} {:>9} {:>10} {:>14} {:>14}\n", first == last ? first : first + " .. " + last,
                    group.sub_batch, group.iterations, group.footprint_bytes_per_sample, group.weight_bytes);
  }
  return text;
}

}  // namespace mbs
