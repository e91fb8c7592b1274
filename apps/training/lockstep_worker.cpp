#include "apps/training/lockstep_worker.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "apps/report/progress.h"
#include "apps/system/child_process.h"
#include "apps/training/trainer.h"
#include "engine/check.h"

namespace mbs {
namespace {

using Json = nlohmann::json;

/// Waits for the next step; false: there is none.
bool told_to_step(int file) {
  char command = 0;
  ssize_t n = 0;
  do n = ::read(file, &command, 1);
  while (n < 0 && errno == EINTR);
  return n == 1;
}

std::span<real> share_weights(int file, int64_t elems) {
  const size_t bytes = static_cast<size_t>(elems) * sizeof(real);
  void* memory = ::ftruncate(file, static_cast<off_t>(bytes)) == 0
                     ? ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
                     : MAP_FAILED;
  if (memory == MAP_FAILED) fail("no shared memory for {} weights", elems);
  return {static_cast<real*>(memory), static_cast<size_t>(elems)};
}

/// Training sums of the epoch so far.
struct Sums {
  double loss = 0;
  int64_t correct = 0, samples = 0;
};

}  // namespace

void compare_worker(const ExperimentOptions& options, const WorkerPipes& pipes) {
  const auto experiment = make_experiment(options);
  Trainer trainer(*experiment);
  const Data& data = experiment->data;
  Loader loader(data.splits.train, data.held_out.train, data.normalization, experiment->loader_options());
  const LrSchedule lr = experiment->lr_schedule();
  const int64_t total = experiment->total_steps();
  const std::span<real> shared = share_weights(pipes.weights, experiment->network.param_array_elems());
  send_answer(pipes.answers, {{"elems", shared.size()},
                              {"steps", total},
                              {"batches", loader.batches()},
                              {"buffer_bytes", experiment->plan.buffer_bytes},
                              {"buffer_note", experiment->buffer_note}});

  Sums sums;
  for (int64_t step = 0; step < total && told_to_step(pipes.commands); ++step) {
    if (step % loader.batches() == 0) {
      loader.start(step / loader.batches());
      sums = {};
    }
    Stopwatch watch;
    const auto batch = loader.next();
    const BatchResult result = trainer.step(*batch, step, lr_at(lr, step));
    Json report{{"loss", result.loss_sum / batch->samples()}, {"seconds", watch.seconds()}};
    std::copy(trainer.params().begin(), trainer.params().end(), shared.begin());
    sums.loss += result.loss_sum;
    sums.correct += result.correct;
    sums.samples += batch->samples();
    if ((step + 1) % loader.batches() == 0) {
      const Evaluation validation = trainer.evaluate(data.splits.train, data.held_out.validation);
      const auto samples = static_cast<double>(sums.samples);
      report.update({{"train_loss", sums.loss / samples},
                     {"train_acc", static_cast<double>(sums.correct) / samples},
                     {"val_loss", validation.loss},
                     {"val_acc", validation.accuracy}});
    }
    send_answer(pipes.answers, report);
  }
  const StepCost modelled = trainer.modelled_step();
  send_answer(pipes.answers, {{"peak_rss_bytes", peak_rss_bytes()},
                              {"dram_read", modelled.traffic.read_bytes},
                              {"dram_written", modelled.traffic.write_bytes},
                              {"modelled_seconds", modelled.seconds},
                              {"modelled_joules", modelled.energy.total()}});
}

}  // namespace mbs
