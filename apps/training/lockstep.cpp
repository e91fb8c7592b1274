#include "apps/training/lockstep.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/report/number_text.h"
#include "apps/system/child_process.h"
#include "apps/system/hash.h"
#include "apps/system/median.h"
#include "apps/training/lockstep_worker.h"
#include "engine/check.h"
#include "engine/real.h"
#include "mbs/planner.h"

namespace mbs {
namespace {

using Json = nlohmann::json;

/// A worker as the parent sees it.
class Worker {
 public:
  Worker(const ExperimentOptions& options, const std::string& name,
         std::span<const std::unique_ptr<Worker>> others) {
    int commands[2];
    weights_ = ::memfd_create("mbs-weights", MFD_CLOEXEC);
    if (weights_ < 0 || ::pipe(commands) != 0)
      fail("a process for {} cannot be set up: {}", name, std::strerror(errno));
    process_ = std::make_unique<ChildProcess>(name, [&](int answers) {
      ::close(commands[1]);
      for (const auto& other : others) ::close(other->commands_);
      compare_worker(options, {commands[0], answers, weights_});
    });
    ::close(commands[0]);
    commands_ = commands[1];
  }
  ~Worker() {
    finish();
    ::close(weights_);
    if (memory_.data() != nullptr) ::munmap(const_cast<std::byte*>(memory_.data()), memory_.size());
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  std::span<const std::byte> weights() const { return memory_; }

  void map_weights(int64_t elems) {
    const size_t bytes = static_cast<size_t>(elems) * sizeof(real);
    void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, weights_, 0);
    if (memory == MAP_FAILED)
      fail("the weights of {} cannot be shared: {}", process_->name(), std::strerror(errno));
    memory_ = {static_cast<const std::byte*>(memory), bytes};
  }

  /// Lets it do one step. That nobody reads it shows in the answer.
  void step() {
    const char command = 's';
    (void)!::write(commands_, &command, 1);
  }

  /// No more steps.
  void finish() {
    if (commands_ >= 0) ::close(commands_);
    commands_ = -1;
  }

  Json answer() { return process_->answer(); }

 private:
  std::unique_ptr<ChildProcess> process_;
  int commands_ = -1, weights_ = -1;
  std::span<const std::byte> memory_;
};

/// One comparison while it runs.
struct Race {
  const CompareOptions& options;
  Display& display;
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<std::vector<double>> seconds;  // [worker][step]
  Comparison result;
  int64_t batches = 1;  // of an epoch

  void add(const std::string& name, const ExperimentOptions& experiment, bool in_verdict) {
    workers.push_back(std::make_unique<Worker>(experiment, name, workers));
    seconds.emplace_back();
    result.runs.push_back({.order = name,
                           .in_verdict = in_verdict,
                           .dram = {},
                           .losses = {},
                           .epochs = {},
                           .weights_hash = {}});
  }

  void start() {
    for (const std::string& order : options.orders) {
      ExperimentOptions experiment = options.experiment;
      experiment.order = order;
      add(order, experiment, true);
    }
    if (options.with_bn) {
      ExperimentOptions experiment = options.experiment;
      experiment.order = "baseline";
      experiment.norm = "bn";
      experiment.gn_groups = experiment.gn_channels = 0;
      add("baseline-bn", experiment, false);
    }
    for (size_t w = 0; w < workers.size(); ++w) {
      const Json ready = workers[w]->answer();
      workers[w]->map_weights(ready["elems"].get<int64_t>());
      result.runs[w].buffer_bytes = ready["buffer_bytes"].get<int64_t>();
      result.runs[w].buffer_note = ready["buffer_note"].get<std::string>();
      result.steps = ready["steps"].get<int64_t>();
      batches = ready["batches"].get<int64_t>();
    }
  }

  void step_one(size_t w, int64_t step) {
    workers[w]->step();
    const Json report = workers[w]->answer();
    OrderResult& run = result.runs[w];
    run.losses.push_back(report["loss"].get<double>());
    seconds[w].push_back(report["seconds"].get<double>());
    if (!report.contains("val_acc")) return;
    run.epochs.push_back({report["train_loss"].get<double>(), report["train_acc"].get<double>(),
                          report["val_loss"].get<double>(), report["val_acc"].get<double>()});
    if (!options.by_epochs) return;
    display.row(fmt::format("{:>5}  {:<11}  {:>10.4f}  {:>9}  {:>8.4f}  {:>8}", (step + 1) / batches,
                            run.order, run.epochs.back().train_loss,
                            percent(run.epochs.back().train_accuracy), run.epochs.back().validation_loss,
                            percent(run.epochs.back().validation_accuracy)));
  }

  void compare_weights(int64_t step) {
    std::vector<std::span<const std::byte>> weights;
    for (size_t w = 0; w < workers.size(); ++w)
      if (result.runs[w].in_verdict) weights.push_back(workers[w]->weights());
    const int different = first_different(weights);
    if (different < 0 || !result.identical()) return;
    result.first_different_step = step + 1;
    result.different_order = result.runs[static_cast<size_t>(different)].order;
  }

  void run() {
    if (options.by_epochs)
      display.row(fmt::format("{:>5}  {:<11}  {:>10}  {:>9}  {:>8}  {:>8}", "epoch", "order", "train_loss",
                              "train_acc", "val_loss", "val_acc"));
    Stopwatch watch;
    for (int64_t step = 0; step < result.steps; ++step) {
      for (size_t turn = 0; turn < workers.size(); ++turn)
        step_one((turn + static_cast<size_t>(step)) % workers.size(), step);
      compare_weights(step);
      const double share = static_cast<double>(step + 1) / static_cast<double>(result.steps);
      display.status(share, fmt::format("step {}/{}", step + 1, result.steps),
                     fmt::format("loss {:.3f}  {}  ETA {}", result.runs[0].losses.back(),
                                 result.identical() ? "bits equal" : "BITS DIFFER",
                                 duration(watch.seconds() * (1 - share) / share)));
      if (step + 1 == 10 && result.steps > 20)
        display.row(fmt::format("about {} to go", duration(watch.seconds() * (1 - share) / share)));
    }
    display.clear();
  }

  void finish() {
    for (size_t w = 0; w < workers.size(); ++w) {
      workers[w]->finish();
      const Json last = workers[w]->answer();
      OrderResult& run = result.runs[w];
      run.peak_rss_bytes = last["peak_rss_bytes"].get<int64_t>();
      run.dram.read_bytes = last["dram_read"].get<decltype(run.dram.read_bytes)>();
      run.dram.write_bytes = last["dram_written"].get<decltype(run.dram.write_bytes)>();
      run.modelled_seconds = last["modelled_seconds"].get<double>();
      run.modelled_joules = last["modelled_joules"].get<double>();
      run.seconds_per_step = median(seconds[w]);
      run.images_per_second = options.experiment.batch_size / run.seconds_per_step;
      run.weights_hash = fmt::format("{:016x}", fnv1a(workers[w]->weights()));
    }
  }
};

}  // namespace

int first_different(std::span<const std::span<const std::byte>> weights) {
  for (size_t i = 1; i < weights.size(); ++i)
    if (weights[i].size() != weights[0].size() ||
        std::memcmp(weights[i].data(), weights[0].data(), weights[0].size()) != 0)
      return static_cast<int>(i);
  return -1;
}

Comparison compare_orders(const CompareOptions& options, Display& display) {
  if (options.orders.empty()) fail_usage("--orders names no order");
  for (const std::string& order : options.orders) parse_word<Order>(order);
  ::signal(SIGPIPE, SIG_IGN);  // a worker that died shows as the end of its answers
  Race race{options, display, {}, {}, {}};
  race.start();
  race.run();
  race.finish();
  return std::move(race.result);
}

}  // namespace mbs
