#include "mbs/planner.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>

#include "engine/check.h"

namespace mbs {
namespace {

constexpr std::array<const char*, 4> kOrderNames = {"baseline", "mbs-fs", "mbs1", "mbs2"};

int blocks_of(const Network& network) { return static_cast<int>(network.blocks().size()); }

std::vector<int64_t> block_footprints(const Network& network, const PlanOptions& options) {
  const Sharing sharing = options.order == Order::mbs2 ? Sharing::across_branches : Sharing::within_branch;
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

// A block that needs more than the buffer for one sample is refused here; an order that lets it spill would
// begin here.
void check_fit(const Network& network, const PlanOptions& options, const std::vector<int64_t>& footprints) {
  const auto largest = std::max_element(footprints.begin(), footprints.end());
  if (*largest <= options.buffer_bytes) return;
  const auto block = static_cast<size_t>(std::find_if(footprints.begin(), footprints.end(),
                                                      [&](int64_t b) { return b > options.buffer_bytes; }) -
                                         footprints.begin());
  fail(
      "order {}: block '{}' of {} needs {} bytes on chip for one sample, but the buffer has {} bytes; the "
      "smallest buffer that works for this network is {} bytes (--buffer {}KiB)",
      order_name(options.order), network.blocks()[block].name, network.name(), footprints[block],
      options.buffer_bytes, *largest, (*largest + 1023) / 1024);
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

Group make_group(const Network& network, const PlanOptions& options, const std::vector<int64_t>& footprints,
                 int first, int last) {
  Group group;
  group.first_block = first;
  group.last_block = last;
  group.footprint_bytes_per_sample =
      *std::max_element(footprints.begin() + first, footprints.begin() + last + 1);
  group.sub_batch =
      options.order == Order::baseline ? options.batch : sub_batch(options, group.footprint_bytes_per_sample);
  group.iterations = (options.batch - 1) / group.sub_batch + 1;
  group.weight_bytes = block_weight_bytes(network, first, last, options.rules.feature_bits);
  return group;
}

Schedule make_schedule(const Network& network, const PlanOptions& options, const std::vector<Group>& groups) {
  if (options.order == Order::baseline) return layer_by_layer(network, options.batch);
  Schedule schedule{order_name(options.order), options.batch, {}};
  const Reuse reuse = options.order == Order::mbs2 ? Reuse::group : Reuse::chain;
  const auto pass = [&](Phase phase, const Group& group) {
    const auto blocks = network.blocks();
    return Pass{phase, blocks[static_cast<size_t>(group.first_block)].first,
                blocks[static_cast<size_t>(group.last_block)].last, group.sub_batch, reuse};
  };
  for (const Group& group : groups) schedule.passes.push_back(pass(Phase::forward, group));
  for (size_t g = groups.size(); g-- > 0;) schedule.passes.push_back(pass(Phase::backward, groups[g]));
  return schedule;
}

Plan assemble(const Network& network, const PlanOptions& options, const std::vector<int64_t>& footprints,
              const std::vector<int>& first_blocks) {
  Plan plan{network.name(), options.order, options.buffer_bytes, options.rules, {}, {}, {}};
  for (size_t g = 0; g < first_blocks.size(); ++g) {
    const int end = g + 1 < first_blocks.size() ? first_blocks[g + 1] : blocks_of(network);
    plan.groups.push_back(make_group(network, options, footprints, first_blocks[g], end - 1));
  }
  plan.schedule = make_schedule(network, options, plan.groups);
  plan.predicted = predicted_traffic(network, plan.schedule, options.rules);
  return plan;
}

// Runs of neighbours that need the same number of iterations.
std::vector<int> equal_runs(const PlanOptions& options, const std::vector<int64_t>& footprints) {
  std::vector<int> first_blocks;
  int previous = -1;
  for (size_t b = 0; b < footprints.size(); ++b) {
    const int iterations = (options.batch - 1) / sub_batch(options, footprints[b]) + 1;
    if (iterations != previous) first_blocks.push_back(static_cast<int>(b));
    previous = iterations;
  }
  return first_blocks;
}

// Merges two neighbouring groups as long as that lowers the predicted traffic, the best merge first (of
// equals, the one nearest to the input).
Plan greedy(const Network& network, const PlanOptions& options, const std::vector<int64_t>& footprints) {
  std::vector<int> first_blocks = equal_runs(options, footprints);
  Plan best = assemble(network, options, footprints, first_blocks);
  for (bool improved = true; improved;) {
    improved = false;
    const std::vector<int> current = first_blocks;
    for (size_t g = 1; g < current.size(); ++g) {
      std::vector<int> merged = current;
      merged.erase(merged.begin() + static_cast<std::ptrdiff_t>(g));
      Plan candidate = assemble(network, options, footprints, merged);
      if (candidate.predicted.total_bytes() >= best.predicted.total_bytes()) continue;
      best = std::move(candidate);
      first_blocks = std::move(merged);
      improved = true;
    }
  }
  return best;
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

Plan plan_with_groups(const Network& network, const PlanOptions& options,
                      const std::vector<int>& first_blocks) {
  check_options(network, options);
  const bool ascending = std::adjacent_find(first_blocks.begin(), first_blocks.end(),
                                            std::greater_equal<>()) == first_blocks.end();
  CHECK(!first_blocks.empty() && first_blocks.front() == 0 && ascending &&
            first_blocks.back() < blocks_of(network),
        "groups that start at blocks {} of {}", fmt::join(first_blocks, ", "), blocks_of(network));
  const std::vector<int64_t> footprints = block_footprints(network, options);
  if (options.order != Order::baseline) check_fit(network, options, footprints);
  Plan plan = assemble(network, options, footprints, first_blocks);
  validate(network, plan.schedule);
  return plan;
}

int64_t smallest_buffer_bytes(const Network& network, const PlanOptions& options) {
  const std::vector<int64_t> footprints = block_footprints(network, options);
  return *std::max_element(footprints.begin(), footprints.end());
}

Plan make_plan(const Network& network, const PlanOptions& options) {
  check_options(network, options);
  if (options.order == Order::mbs_fs) return plan_with_groups(network, options, {0});
  if (options.order == Order::baseline) {
    std::vector<int> every_block;
    for (int b = 0; b < blocks_of(network); ++b) every_block.push_back(b);
    return plan_with_groups(network, options, every_block);
  }
  const std::vector<int64_t> footprints = block_footprints(network, options);
  check_fit(network, options, footprints);
  Plan plan = greedy(network, options, footprints);
  validate(network, plan.schedule);
  return plan;
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
