#include "apps/measure/order_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/measure/machine_limits.h"
#include "apps/report/number_text.h"
#include "apps/system/child_process.h"
#include "apps/system/median.h"
#include "engine/check.h"

namespace mbs {
namespace {

void check_orders(const BenchStepOptions& options) {
  if (options.orders.empty()) fail_usage("--orders names no order");
  for (const std::string& order : options.orders) {
    if (parse_word<Order>(order) == Order::baseline || options.experiment.norm != "bn") continue;
    fail_usage(
        "--norm bn: batch norm couples the samples of a batch, which order {} would split; give --orders "
        "baseline, or --norm gn",
        order);
  }
}

// In a child, as threads must not be started here.
double peak_in_child(int threads) {
  ChildProcess child("FMA peak", [&](int answers) {
    send_answer(answers, {{"flops", measure_fma_peak(threads)}});
  });
  return child.answer()["flops"].get<double>();
}

void add_round(StepTimes& all, const StepTimes& round) {
  std::vector<double> seconds = std::move(all.seconds);
  seconds.insert(seconds.end(), round.seconds.begin(), round.seconds.end());
  Profile profile = std::move(all.profile);
  profile += round.profile;
  const int64_t peak_rss = std::max(all.peak_rss_bytes, round.peak_rss_bytes);
  all = round;
  all.seconds = std::move(seconds);
  all.profile = std::move(profile);
  all.peak_rss_bytes = peak_rss;
}

}  // namespace

double OrderTimes::seconds_per_step() const { return median(times.seconds); }

double OrderTimes::best_seconds_per_step() const {
  return *std::min_element(times.seconds.begin(), times.seconds.end());
}

StepBench bench_steps(const BenchStepOptions& options, Display& display) {
  check_orders(options);
  StepBench bench;
  for (const std::string& order : options.orders) bench.orders.push_back({order, {}});
  bench.experiment = synthetic_experiment(options.experiment, options.orders.front());
  bench.threads = std::min(bench.experiment.threads, bench.experiment.cores);
  const size_t orders = options.orders.size(), all = orders * static_cast<size_t>(options.rounds);
  Stopwatch watch;
  for (size_t turn = 0; turn < all; ++turn) {
    const size_t round = turn / orders, place = turn % orders;
    OrderTimes& next = bench.orders[round % 2 == 0 ? place : orders - 1 - place];
    const double share = static_cast<double>(turn) / static_cast<double>(all);
    display.status(share, fmt::format("round {}/{}", round + 1, options.rounds),
                   fmt::format("{}  ETA {}", next.order, time_left(share, watch.seconds())));
    add_round(next.times, time_steps(synthetic_experiment(options.experiment, next.order), options.steps));
    if (turn == 0 && display.mode() == Display::Mode::plain)
      display.row(fmt::format("{} measurements, about {}", all,
                              duration(watch.seconds() * static_cast<double>(all))));
    bench.peak_flops = std::max(bench.peak_flops, peak_in_child(bench.threads));
  }
  display.clear();
  return bench;
}

}  // namespace mbs
