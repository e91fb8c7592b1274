// Epochs, log files, checkpoints and what is on the screen, around Trainer.
#pragma once

#include <string>

#include "apps/report/progress.h"
#include "apps/training/run_folder.h"
#include "apps/training/trainer.h"

namespace mbs {

/// What a run came to.
struct RunOutcome {
  RunPosition position;
  Evaluation validation;    ///< of the last epoch
  double seconds = 0;       ///< of training by this process, evaluation and saving left out
  double wait_seconds = 0;  ///< of it waiting for images
  bool interrupted = false;
};

/// A run with its folder.
class TrainLoop {
 public:
  /// `start`: where the trainer's weights stand. Cuts the log files back to it.
  TrainLoop(const Experiment& experiment, Trainer& trainer, const std::string& folder, int log_interval,
            Display& display, const RunPosition& start);

  /// Trains to the end or until Ctrl-C. Writes last.safetensors after every epoch and on Ctrl-C, and
  /// best.safetensors when the validation accuracy is the best so far (without validation: after every
  /// epoch).
  RunOutcome run();

  /// Writes an object to log.jsonl.
  void log(const std::string& json_line) { log_.add(json_line); }

 private:
  void train_epoch();
  void after_step(const BatchResult& result, double lr, double seconds);
  void finish_epoch(bool whole);
  void show_status();
  void show_estimate();
  void hint_if_at_chance(const Evaluation& validation) const;
  void save(const std::string& file, bool to_train_on);
  CheckpointInfo info() const;
  bool done() const { return position_.step >= total_steps_; }

  const Experiment& experiment_;
  Trainer& trainer_;
  std::string folder_;
  int log_interval_;
  Display& display_;
  GrowingFile log_, summary_;
  Loader loader_;
  LrSchedule lr_;
  int64_t total_steps_;
  RunPosition position_;
  Evaluation validation_;
  double epoch_seconds_ = 0;  // of this epoch, in this process
  int64_t epoch_samples_ = 0;
  int64_t process_steps_ = 0;
  double process_seconds_ = 0;
};

/// The head of the table of epochs.
std::string epoch_header();

}  // namespace mbs
