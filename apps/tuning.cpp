#include "apps/tuning.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "apps/child_process.h"
#include "apps/machine_info.h"
#include "apps/median.h"
#include "apps/table.h"
#include "apps/trainer.h"
#include "engine/check.h"

namespace mbs {
namespace {

constexpr int kSyntheticClasses = 10;
constexpr double kDropAbove = 1.1;  // times the best of the order; neighbours disturb a step by less
constexpr int kFewestSteps = 2, kMostSteps = 20;

// Synthetic images, one batch of them, and weights that stay as they are: every step does the same work.
ExperimentOptions experiment_of(const TuneOptions& options, const std::string& order) {
  ExperimentOptions e = options.experiment;
  fill_in(e);
  e.image_size = image_size_of(e);
  e.order = order;
  e.dataset = "synthetic";
  e.limit_train = e.batch_size;
  e.val_share = 0;
  e.aug = "none";
  e.lr = 0;
  e.tune = false;
  return e;
}

// What train does in a step, measured; the first step, which takes the memory, is not counted.
void measure_in_child(const ExperimentOptions& e, const PlanChoice& choice, int wanted_steps, int answers) {
  const auto experiment = make_experiment(e, {}, &choice);
  Trainer trainer(*experiment);
  const Data& data = experiment->data;
  Loader loader(data.splits.train, data.held_out.train, data.normalization, experiment->loader_options());
  loader.start(0);
  const auto batch = loader.next();
  Stopwatch watch;
  trainer.step(*batch, 0, e.lr);
  const int steps = wanted_steps > 0
                        ? wanted_steps
                        : std::clamp(static_cast<int>(1 / watch.seconds()), kFewestSteps, kMostSteps);
  std::vector<double> seconds;
  for (int step = 1; step <= steps; ++step) {
    watch.restart();
    trainer.step(*batch, step, e.lr);
    seconds.push_back(watch.seconds());
  }
  send_answer(answers, {{"seconds", seconds}, {"peak_rss_bytes", peak_rss_bytes()}});
}

void measure_once(Candidate& candidate, const TuneOptions& options) {
  const ExperimentOptions e = experiment_of(options, candidate.order);
  ChildProcess child(candidate.order,
                     [&](int answers) { measure_in_child(e, candidate.choice, options.steps, answers); });
  const nlohmann::json answer = child.answer();
  const auto seconds = answer["seconds"].get<std::vector<double>>();
  candidate.rounds.push_back(median(seconds));
  candidate.steps += static_cast<int64_t>(seconds.size());
  candidate.peak_rss_bytes = std::max(candidate.peak_rss_bytes, answer["peak_rss_bytes"].get<int64_t>());
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
      choice.grouping = parse_grouping(grouping);
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
      display.status(
          share, fmt::format("round {}/{}", round, options.rounds),
          fmt::format("{} in {}, {}  ETA of the round {}", racing[i]->order,
                      binary_bytes(racing[i]->plan.buffer_bytes), grouping_name(racing[i]->choice.grouping),
                      i == 0 ? "?" : duration(watch.seconds() * (1 - share) / share)));
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
