#include "mbs/traffic.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <sstream>

#include "engine/check.h"
#include "mbs/traffic_terms.h"

namespace mbs {
namespace {

const TrafficRules kPresets[] = {
    {"paper", Space::in_place, 16, 16, 8},
    {"conservative", Space::out_of_place, 16, 32, 8},
    {"fused", Space::out_of_place, 16, 32, 8, 2, true},
};

// One switch of an accounting, "space=in-place".
void apply_switch(const std::string& word, const std::string& accounting, TrafficRules& rules) {
  const size_t equals = std::min(word.find('='), word.size());
  const std::string key = word.substr(0, equals), value = word.substr(std::min(equals + 1, word.size()));
  const auto choice = [&](const char* no, const char* yes) {
    if (value != no && value != yes)
      fail_usage("accounting '{}': {} is '{}'; it must be {} or {}", accounting, key, value, no, yes);
    return value == yes;
  };
  const auto number = [&](int most) {
    int n = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), n);
    if (error != std::errc() || end != value.data() + value.size() || n < 1 || n > most)
      fail_usage("accounting '{}': {} is '{}'; it must be a whole number from 1 to {}", accounting, key,
                 value, most);
    return n;
  };
  if (key == "space")
    rules.space = choice("out-of-place", "in-place") ? Space::in_place : Space::out_of_place;
  else if (key == "fusion")
    rules.fused = choice("none", "norm-relu");
  else if (key == "feature-bits")
    rules.feature_bits = number(64);
  else if (key == "partial-sum-bits")
    rules.partial_sum_bits = number(64);
  else if (key == "pool-index-bits")
    rules.pool_index_bits = number(64);
  else if (key == "sweeps")
    rules.max_sweeps = number(2);
  else
    fail_usage(
        "accounting '{}' has no switch '{}'; there are space, fusion, feature-bits, partial-sum-bits, "
        "pool-index-bits "
        "and sweeps",
        accounting, key);
}

// In which pass of each direction a node runs.
using PassOf = std::array<std::vector<int>, 2>;

PassOf pass_of_nodes(const Network& network, const Schedule& schedule) {
  PassOf pass_of;
  for (std::vector<int>& passes : pass_of) passes.assign(static_cast<size_t>(network.node_count()), -1);
  for (size_t p = 0; p < schedule.passes.size(); ++p) {
    const Pass& pass = schedule.passes[p];
    for (NodeId n = pass.first; n <= pass.last; ++n)
      pass_of[static_cast<size_t>(pass.phase)][static_cast<size_t>(n)] = static_cast<int>(p);
  }
  return pass_of;
}

bool begins_block(const Network& network, NodeId n) {
  return network.blocks()[static_cast<size_t>(network.node(n).block)].first == n;
}

// What each pass keeps, of a predictable schedule. What a backward pass makes again, the forward pass over
// the same nodes need not store.
std::vector<Keeping> keeping_of_passes(const Schedule& schedule, const PassOf& pass_of) {
  std::vector<Keeping> keeping;
  for (const Pass& pass : schedule.passes) keeping.push_back({pass.reuse, pass.reuse, Recompute::nothing});
  for (size_t p = 0; p < schedule.passes.size(); ++p) {
    const Pass& pass = schedule.passes[p];
    if (pass.recompute == Recompute::nothing) continue;
    const auto partner = static_cast<size_t>(pass_of[0][static_cast<size_t>(pass.first)]);
    const Pass& forward = schedule.passes[partner];
    keeping[p] = keeping[partner] = {forward.reuse, pass.reuse, pass.recompute};
  }
  return keeping;
}

int64_t times(TrafficTerm::Per per, const Pass& pass, int batch) {
  switch (per) {
    case TrafficTerm::Per::sample:
      return batch;
    case TrafficTerm::Per::chunk:
      return pass.chunks(batch);
    case TrafficTerm::Per::later_chunk:
      return pass.chunks(batch) - 1;
  }
  return 0;
}

}  // namespace

TrafficRules traffic_rules(const std::string& text) {
  std::istringstream words(text);
  std::string word;
  std::getline(words, word, ',');
  const auto preset =
      std::find_if(std::begin(kPresets), std::end(kPresets), [&](const auto& p) { return p.name == word; });
  if (preset == std::end(kPresets))
    fail_usage("unknown accounting '{}'; there are {}", word, fmt::join(traffic_rules_names(), ", "));
  TrafficRules rules = *preset;
  while (std::getline(words, word, ',')) apply_switch(word, text, rules);
  rules.name = text;
  return rules;
}

std::vector<std::string> traffic_rules_names() {
  std::vector<std::string> names;
  for (const TrafficRules& preset : kPresets) names.push_back(preset.name);
  return names;
}

int first_unpredictable(const Network& network, const Schedule& schedule) {
  const PassOf pass_of = pass_of_nodes(network, schedule);
  for (size_t p = 0; p < schedule.passes.size(); ++p) {
    const Pass& pass = schedule.passes[p];
    const bool recomputes = pass.recompute != Recompute::nothing;
    bool fine = recomputes || pass.reuse != Reuse::hold;
    if (recomputes) {
      const Pass& forward = schedule.passes[static_cast<size_t>(pass_of[0][static_cast<size_t>(pass.first)])];
      fine = forward.first == pass.first && forward.last == pass.last && forward.reuse == Reuse::group &&
             (pass.reuse == Reuse::group || pass.reuse == Reuse::hold) &&
             can_begin_recomputing(network, pass.first) && begins_block(network, pass.first) &&
             (pass.last + 1 == network.node_count() || begins_block(network, pass.last + 1));
    }
    if (!fine) return static_cast<int>(p);
  }
  return -1;
}

Traffic predicted_traffic(const Network& network, const Schedule& schedule, const TrafficRules& rules) {
  CHECK(!schedule.passes.empty(), "a schedule without passes");
  CHECK(first_unpredictable(network, schedule) < 0, "the traffic of pass {} cannot be predicted",
        first_unpredictable(network, schedule));
  const PassOf pass_of = pass_of_nodes(network, schedule);
  const bool training = schedule.passes.back().phase == Phase::backward;
  std::array<int64_t, kTrafficClasses> read_bits{}, write_bits{};
  const std::vector<Keeping> keeping = keeping_of_passes(schedule, pass_of);
  for (size_t first = 0; first < keeping.size(); ++first) {
    if (std::find(keeping.begin(), keeping.begin() + static_cast<std::ptrdiff_t>(first), keeping[first]) !=
        keeping.begin() + static_cast<std::ptrdiff_t>(first))
      continue;  // done
    for (const TrafficTerm& term : traffic_terms(network, keeping[first], rules, training, schedule.kept)) {
      const std::vector<int>& passes = pass_of[static_cast<size_t>(term.phase)];
      const auto p = static_cast<size_t>(passes[static_cast<size_t>(term.first)]);
      if (keeping[p] != keeping[first] || passes[static_cast<size_t>(term.last)] != static_cast<int>(p))
        continue;
      auto& bits = term.write ? write_bits : read_bits;
      bits[static_cast<size_t>(term.traffic_class)] +=
          term.bits * times(term.per, schedule.passes[p], schedule.batch);
    }
  }
  Traffic total;
  for (size_t c = 0; c < kTrafficClasses; ++c) {
    total.read_bytes[c] = (read_bits[c] + 7) / 8;
    total.write_bytes[c] = (write_bits[c] + 7) / 8;
  }
  return total;
}

}  // namespace mbs
