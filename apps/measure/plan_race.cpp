#include "apps/measure/plan_race.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "apps/measure/isolated_steps.h"
#include "apps/report/number_text.h"
#include "apps/resolve/machine_info.h"
#include "apps/system/median.h"
#include "engine/check.h"

namespace mbs {
namespace {

constexpr int kSyntheticClasses = 10;
constexpr double kDropAbove = 1.1;  // times the best of the order; neighbours disturb a step by less

// The plans are given: what an earlier tuning found does not matter.
ExperimentOptions experiment_of(const TuneOptions& options, const std::string& order) {
  ExperimentOptions e = synthetic_experiment(options.experiment, order);
  e.tune = false;
  return e;
}

void measure_once(Candidate& candidate, const TuneOptions& options) {
  const StepTimes times =
      time_steps(experiment_of(options, candidate.order), options.steps, &candidate.choice);
  candidate.rounds.push_back(median(times.seconds));
  candidate.steps += static_cast<int64_t>(times.seconds.size());
  candidate.peak_rss_bytes = std::max(candidate.peak_rss_bytes, times.peak_rss_bytes);
}

double best_seconds(const std::vector<Candidate>& candidates, const std::string& order) {
  double best = std::numeric_limits<double>::infinity();
  for (const Candidate& c : candidates)
    if (c.order == order && !c.dropped) best = std::min(best, c.seconds_per_step());
  return best;
}

std::vector<int64_t> buffers_of(const TuneOptions& options) {
  std::vector<int64_t> buffers;
  for (const std::string& text : options.buffers) buffers.push_back(parse_bytes(text));
  for (int64_t bytes = level2_cache_bytes() / 8; options.buffers.empty() && bytes <= level2_cache_bytes() * 8;
       bytes *= 2)
    buffers.push_back(bytes);
  return buffers;
}

}  // namespace

double Candidate::seconds_per_step() const {
  return rounds.empty() ? 0 : *std::min_element(rounds.begin(), rounds.end());
}

std::vector<Candidate> make_candidates(const TuneOptions& options) {
  if (options.experiment.norm == "bn")
    fail_usage("batch norm runs in baseline order only, so there is no plan to choose; leave out --norm bn");
  const std::vector<int64_t> buffers = buffers_of(options);
  const ExperimentOptions e = experiment_of(options, "baseline");
  PlanChoice choice = plan_choice("auto", rules_of(e.accounting, e.fusion));
  const Network network =
      as_counted(make_network(network_options(e, Shape{e.image_size, e.image_size, 3}, kSyntheticClasses)),
                 choice.rules);
  std::vector<Candidate> candidates;
  const auto add = [&](const std::string& order) {
    Candidate next{order, choice, plan_share(network, order, e.batch_size, e.cores, choice), {}};
    const bool known = std::any_of(candidates.begin(), candidates.end(), [&](const Candidate& c) {
      return c.order == order && c.plan.schedule == next.plan.schedule;
    });
    if (!known) candidates.push_back(std::move(next));
  };
  add("baseline");
  for (const std::string& order : options.orders) {
    if (order == "baseline") continue;
    for (const std::string& grouping : options.groupings) {
      choice.grouping = parse_word<Grouping>(grouping);
      for (const int64_t bytes : buffers) {
        choice.buffer_bytes = bytes;
        add(order);
      }
    }
  }
  return candidates;
}

void measure(std::vector<Candidate>& candidates, const TuneOptions& options, Display& display) {
  Stopwatch watch;
  for (int round = 1; round <= options.rounds; ++round) {
    std::vector<Candidate*> racing;
    for (Candidate& c : candidates)
      if (!c.dropped) racing.push_back(&c);
    if (round % 2 == 0) std::reverse(racing.begin(), racing.end());
    watch.restart();
    for (size_t i = 0; i < racing.size(); ++i) {
      const double share = static_cast<double>(i) / static_cast<double>(racing.size());
      display.status(share, fmt::format("round {}/{}", round, options.rounds),
                     fmt::format("{} in {}, {}  ETA of the round {}", racing[i]->order,
                                 binary_bytes(racing[i]->plan.buffer_bytes),
                                 word_of(racing[i]->choice.grouping), time_left(share, watch.seconds())));
      measure_once(*racing[i], options);
      if (i == 1 && display.mode() == Display::Mode::plain)
        display.row(fmt::format("round {} of {}: {} plans, about {}", round, options.rounds, racing.size(),
                                duration(watch.seconds() / 2 * static_cast<double>(racing.size()))));
    }
    // Not after the first round: whatever disturbed it would drop the wrong ones.
    for (Candidate& c : candidates)
      c.dropped =
          c.dropped || (round > 1 && c.seconds_per_step() > kDropAbove * best_seconds(candidates, c.order));
  }
  display.clear();
  for (Candidate& c : candidates)
    c.best = c.order != "baseline" && !c.dropped && c.seconds_per_step() == best_seconds(candidates, c.order);
}

}  // namespace mbs
