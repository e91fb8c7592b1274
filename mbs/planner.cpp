#include "mbs/planner.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/check.h"
#include "mbs/group_costs.h"
#include "mbs/grouping.h"

namespace mbs {
namespace {

int blocks_of(const Network& network) { return static_cast<int>(network.blocks().size()); }

int64_t block_weight_bytes(const Network& network, int first, int last, int bits) {
  int64_t elems = 0;
  for (const ParamInfo& p : network.params()) {
    const int block = network.node(p.node).block;
    if (first <= block && block <= last) elems += p.elems;
  }
  return (elems * bits + 7) / 8;
}

[[noreturn]] void refuse(const Network& network, const PlanOptions& options, Treatment treatment, int block) {
  const std::vector<int64_t> footprints = block_footprints(network, options, treatment);
  const int64_t largest = *std::max_element(footprints.begin(), footprints.end());
  fail(
      "order {}: block '{}' of {} needs {} bytes on chip for one sample, but the buffer has {} bytes; the "
      "smallest buffer that works for this network is {} bytes (--buffer {}KiB)",
      word_of(options.order), network.blocks()[static_cast<size_t>(block)].name, network.name(),
      footprints[static_cast<size_t>(block)], options.buffer_bytes, largest, (largest + 1023) / 1024);
}

void check_options(const Network& network, const PlanOptions& options) {
  if (options.batch < 1 || options.batch > kMaxBatch)
    fail_usage("the batch of a core is {}; it must be between 1 and {}", options.batch, kMaxBatch);
  if (options.buffer_bytes < 1)
    fail_usage("the buffer has {} bytes; it must have at least 1", options.buffer_bytes);
  CHECK(network.node_count() > 0, "a network without nodes");
}

// Everything that is worked out once for a network and options.
class Planner {
 public:
  Planner(const Network& network, const PlanOptions& options)
      : network_(network), options_(options), sizes_(network, options) {}

  /// The groups of mbs1 and mbs2.
  std::vector<GroupChoice> groups() const {
    if (options_.grouping == Grouping::optimal) return optimal_groups(network_, options_, sizes_);
    return greedy_groups(network_, options_, sizes_, equal_runs());
  }
  Plan fully_serialized() const;
  Plan recomputing() const;
  /// `limit`: the largest sub-batch that a group in chunks may have.
  Plan assemble(const std::vector<GroupChoice>&, int limit = kMaxBatch) const;

 private:
  int blocks() const { return blocks_of(network_); }
  Treatment treatment_of(int block) const;
  std::vector<GroupChoice> equal_runs() const;
  Group make_group(const GroupChoice&, int last, int limit) const;
  std::vector<TensorId> crossing(int block) const;
  std::vector<Pass> forward_passes(const Group&) const;
  std::vector<Pass> backward_passes(const Group&) const;

  const Network& network_;
  const PlanOptions& options_;
  const GroupSizes sizes_;
};

// The order's treatment, or layerwise where a block does not fit (which is refused unless it may spill).
Treatment Planner::treatment_of(int block) const {
  const Treatment natural = natural_treatment(options_.order);
  if (sizes_.fits(natural, block, block)) return natural;
  if (!options_.spill) refuse(network_, options_, natural, block);
  return Treatment::layerwise;
}

Group Planner::make_group(const GroupChoice& choice, int last, int limit) const {
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
        std::max(group.footprint_bytes_per_sample, sizes_.footprint_bytes(choice.treatment, first, end - 1));
    first = end;
  }
  group.sub_batch = sizes_.sub_batch(choice.treatment, group.footprint_bytes_per_sample);
  if (choice.treatment != Treatment::layerwise) group.sub_batch = std::min(group.sub_batch, limit);
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

std::vector<Pass> Planner::forward_passes(const Group& group) const {
  const NodeId first = network_.blocks()[static_cast<size_t>(group.first_block)].first;
  const NodeId last = network_.blocks()[static_cast<size_t>(group.last_block)].last;
  if (group.treatment != Treatment::layerwise)
    return {{Phase::forward, first, last, group.sub_batch, keeping_of(group.treatment).forward}};
  if (options_.order != Order::baseline) return layerwise_runs(network_, options_, first, last);
  std::vector<Pass> passes;
  for (NodeId n = first; n <= last; ++n)
    passes.push_back({Phase::forward, n, n, options_.batch, Reuse::none});
  return passes;
}

// The same passes, last to first.
std::vector<Pass> Planner::backward_passes(const Group& group) const {
  std::vector<Pass> passes = forward_passes(group);
  std::reverse(passes.begin(), passes.end());
  const Keeping keeping = keeping_of(group.treatment);
  for (Pass& pass : passes) {
    pass.phase = Phase::backward;
    pass.recompute = keeping.recompute;
    if (group.treatment != Treatment::layerwise) pass.reuse = keeping.backward;
  }
  return passes;
}

Plan Planner::assemble(const std::vector<GroupChoice>& choices, int limit) const {
  Plan plan;
  plan.network = network_.name();
  plan.order = options_.order;
  plan.buffer_bytes = options_.buffer_bytes;
  plan.rules = options_.rules;
  for (size_t g = 0; g < choices.size(); ++g) {
    const int last = (g + 1 < choices.size() ? choices[g + 1].first_block : blocks()) - 1;
    const Treatment treatment = choices[g].treatment;
    plan.groups.push_back(make_group(choices[g], last, limit));
    if (treatment == Treatment::layerwise ||
        plan.groups.back().footprint_bytes_per_sample <= options_.buffer_bytes)
      continue;
    for (int b = choices[g].first_block; b <= last; ++b)
      if (!sizes_.fits(treatment, b, b)) refuse(network_, options_, treatment, b);
    fail("order {}: blocks {} to {} do not fit the buffer as one group", word_of(options_.order),
         choices[g].first_block, last);
  }
  plan.spilled = spilled_blocks(network_, options_);
  plan.schedule = {word_of(options_.order), options_.batch, {}};
  std::vector<Pass>& passes = plan.schedule.passes;
  for (const Group& group : plan.groups) {
    const std::vector<Pass> of_group = forward_passes(group);
    passes.insert(passes.end(), of_group.begin(), of_group.end());
    for (const int block : group.kept) {
      const std::vector<TensorId> values = crossing(block);
      plan.schedule.kept.insert(plan.schedule.kept.end(), values.begin(), values.end());
    }
  }
  for (size_t g = plan.groups.size(); g-- > 0;) {
    const std::vector<Pass> of_group = backward_passes(plan.groups[g]);
    passes.insert(passes.end(), of_group.begin(), of_group.end());
  }
  plan.predicted = predicted_traffic(network_, plan.schedule, options_.rules);
  validate(network_, plan.schedule);
  return plan;
}

// Groups that make values again can begin at fewer blocks, so the best groups of MBS2 may be better.
Plan Planner::recomputing() const {
  Plan again = assemble(recomputing_groups(network_, options_, sizes_));
  Plan mbs2 = assemble(optimal_groups(network_, options_, sizes_));
  return again.predicted.total_bytes() <= mbs2.predicted.total_bytes() ? again : mbs2;
}

// Runs of neighbours in one treatment that need the same number of iterations.
std::vector<GroupChoice> Planner::equal_runs() const {
  std::vector<GroupChoice> groups;
  int previous = -1;
  for (int b = 0; b < blocks(); ++b) {
    const Treatment treatment = treatment_of(b);
    const int needed = treatment == Treatment::layerwise ? 0 : sizes_.iterations(treatment, b, b);
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
  int smallest = options_.batch;
  for (int b = 0; b < blocks(); ++b) {
    const Treatment treatment = treatment_of(b);
    smallest = std::min(smallest, sizes_.sub_batch(treatment, sizes_.footprint_bytes(treatment, b, b)));
  }
  return assemble(groups, smallest);
}

}  // namespace

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
    case Order::mbs_r:
      return planner.recomputing();
    default:
      return planner.assemble(planner.groups());
  }
}

std::string group_name(const Network& network, const Group& group) {
  const std::string& first = network.blocks()[static_cast<size_t>(group.first_block)].name;
  const std::string& last = network.blocks()[static_cast<size_t>(group.last_block)].name;
  return first == last ? first : first + " .. " + last;
}

std::vector<int> sub_batches(const Plan& plan) {
  if (plan.order == Order::baseline) return {plan.schedule.batch};
  std::vector<int> sizes;
  for (const Group& group : plan.groups) sizes.push_back(group.sub_batch);
  return sizes;
}

std::string group_table(const Network& network, const Plan& plan) {
  std::string text = fmt::format("{:<32} {:>9} {:>10} {:>14} {:>14}\n", "group", "sub-batch", "iterations",
                                 "bytes/sample", "weight bytes");
  for (const Group& group : plan.groups) {
    text += fmt::format("{:<32} {:>9} {:>10} {:>14} {:>14}\n", group_name(network, group), group.sub_batch,
                        group.iterations, group.footprint_bytes_per_sample, group.weight_bytes);
  }
  return text;
}

}  // namespace mbs
