#include "mbs/group_costs.h"

#include <numeric>

#include "mbs/footprint.h"
#include "mbs/traffic_terms.h"

namespace mbs {
namespace {

bool fits_with_batch(const Network& network, const PlanOptions& options, NodeId n) {
  const int64_t bits = layer_footprint_elems(network, network.node(n), options.rules.space) *
                       options.rules.feature_bits * options.batch;
  return (bits + 7) / 8 <= options.buffer_bytes;
}

// The terms of a network that runs layerwise: those of a chain inside of runs that fit, those of a layer that
// keeps nothing elsewhere.
std::vector<TrafficTerm> layerwise_terms(const Network& network, const PlanOptions& options) {
  std::vector<int> run_of(static_cast<size_t>(network.node_count()), -1);
  int runs = 0;
  for (const Pass& run : layerwise_runs(network, options, 0, network.node_count() - 1)) {
    for (NodeId n = run.first; run.reuse == Reuse::chain && n <= run.last; ++n)
      run_of[static_cast<size_t>(n)] = runs;
    ++runs;
  }
  const auto run = [&](NodeId n) { return run_of[static_cast<size_t>(n)]; };
  std::vector<TrafficTerm> terms;
  for (const TrafficTerm& term : traffic_terms(network, {}, options.rules, true))
    if (run(term.first) < 0) terms.push_back(term);
  for (const TrafficTerm& term : traffic_terms(network, {Reuse::chain, Reuse::chain}, options.rules, true))
    if (run(term.first) >= 0 && run(term.first) == run(term.last)) terms.push_back(term);
  return terms;
}

std::vector<TrafficTerm> terms_of(const Network& network, const PlanOptions& options, Treatment treatment) {
  if (treatment == Treatment::layerwise) return layerwise_terms(network, options);
  return traffic_terms(network, keeping_of(treatment), options.rules, true);
}

}  // namespace

Keeping keeping_of(Treatment treatment) {
  switch (treatment) {
    case Treatment::layerwise:
      return {};
    case Treatment::chain:
      return {Reuse::chain, Reuse::chain, Recompute::nothing};
    case Treatment::group:
      return {Reuse::group, Reuse::group, Recompute::nothing};
    case Treatment::stream_branches:
      return {Reuse::group, Reuse::group, Recompute::branches};
    case Treatment::stream_joins:
      return {Reuse::group, Reuse::group, Recompute::joins};
    case Treatment::hold_branches:
      return {Reuse::group, Reuse::hold, Recompute::branches};
    case Treatment::hold_joins:
      return {Reuse::group, Reuse::hold, Recompute::joins};
    case Treatment::stream_expansions:
      return {Reuse::group, Reuse::group, Recompute::expansions};
    case Treatment::hold_expansions:
      return {Reuse::group, Reuse::hold, Recompute::expansions};
  }
  return {};
}

GroupCosts::GroupCosts(const Network& network, const PlanOptions& options, Treatment treatment)
    : blocks_(static_cast<int>(network.blocks().size())), batch_(options.batch) {
  for (auto& table : tables_) table.assign(static_cast<size_t>(blocks_) * static_cast<size_t>(blocks_), 0);
  for (const TrafficTerm& term : terms_of(network, options, treatment))
    at(tables_[static_cast<size_t>(term.per)], network.node(term.first).block,
       network.node(term.last).block) += term.bits;
  // From terms whose span is [first, last] to those whose span lies in it.
  for (auto& table : tables_) {
    for (int length = 1; length < blocks_; ++length) {
      for (int first = 0; first + length < blocks_; ++first) {
        const int last = first + length;
        at(table, first, last) += at(table, first + 1, last) + at(table, first, last - 1) -
                                  (length > 1 ? at(table, first + 1, last - 1) : 0);
      }
    }
  }
}

int64_t& GroupCosts::at(std::vector<int64_t>& table, int first, int last) const {
  return table[static_cast<size_t>(first) * static_cast<size_t>(blocks_) + static_cast<size_t>(last)];
}

int64_t GroupCosts::bits(int first, int last, int iterations) const {
  const std::array<int64_t, 3> times = {batch_, iterations, iterations - 1};
  const size_t place = static_cast<size_t>(first) * static_cast<size_t>(blocks_) + static_cast<size_t>(last);
  int64_t sum = 0;
  for (size_t per = 0; per < tables_.size(); ++per) sum += tables_[per][place] * times[per];
  return sum;
}

std::vector<Pass> layerwise_runs(const Network& network, const PlanOptions& options, NodeId first,
                                 NodeId last) {
  std::vector<Pass> runs;
  for (NodeId n = first; n <= last; ++n) {
    const bool fits = fits_with_batch(network, options, n);
    if (fits && !runs.empty() && runs.back().reuse == Reuse::chain)
      runs.back().last = n;
    else
      runs.push_back({Phase::forward, n, n, options.batch, fits ? Reuse::chain : Reuse::none});
  }
  return runs;
}

}  // namespace mbs
