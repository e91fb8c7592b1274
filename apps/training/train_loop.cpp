#include "apps/training/train_loop.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/report/number_text.h"
#include "apps/system/stop_signal.h"

namespace mbs {
namespace {

using Json = nlohmann::ordered_json;
constexpr const char* kSummaryHeader =
    "epoch,train_loss,train_acc,val_loss,val_acc,lr,images_per_second,seconds";
constexpr int64_t kEstimateAfter = 20;  // steps

double rate(int64_t samples, double seconds) {
  return seconds > 0 ? static_cast<double>(samples) / seconds : 0;
}

}  // namespace

std::string epoch_header() {
  return fmt::format("{:>5}  {:>10}  {:>9}  {:>8}  {:>8}  {:>8}  {:>6}  {:>7}", "epoch", "train_loss",
                     "train_acc", "val_loss", "val_acc", "lr", "img/s", "time");
}

TrainLoop::TrainLoop(const Experiment& experiment, Trainer& trainer, const std::string& folder,
                     int log_interval, Display& display, const RunPosition& start)
    : experiment_(experiment),
      trainer_(trainer),
      folder_(folder),
      log_interval_(log_interval),
      display_(display),
      log_(folder + "/log.jsonl", start.log_bytes),
      summary_(folder + "/summary.csv", start.summary_bytes),
      loader_(experiment.data.splits.train, experiment.data.held_out.train, experiment.data.normalization,
              experiment.loader_options()),
      lr_(experiment.lr_schedule()),
      total_steps_(experiment.total_steps()),
      position_(start) {
  if (summary_.bytes() == 0) summary_.add(kSummaryHeader);
}

RunOutcome TrainLoop::run() {
  display_.row(epoch_header());
  while (!done() && !stop_requested()) train_epoch();
  if (!done()) save("last", true);
  return {position_, validation_, process_seconds_, loader_.wait_seconds(), !done()};
}

void TrainLoop::train_epoch() {
  epoch_seconds_ = 0;
  epoch_samples_ = 0;
  loader_.start(position_.epoch, position_.batch);
  Stopwatch watch;
  while (const auto batch = loader_.next()) {
    const double lr = lr_at(lr_, position_.step);
    const BatchResult result = trainer_.step(*batch, position_.step, lr);
    position_.step++;
    position_.batch++;
    position_.loss_sum += result.loss_sum;
    position_.correct += result.correct;
    position_.samples += batch->samples();
    epoch_samples_ += batch->samples();
    after_step(result, lr, watch.seconds());
    watch.restart();
    if (done() || stop_requested()) break;
  }
  const bool whole = position_.batch == loader_.batches();
  if (whole || done()) finish_epoch(whole);
}

void TrainLoop::after_step(const BatchResult& result, double lr, double seconds) {
  epoch_seconds_ += seconds;
  process_seconds_ += seconds;
  position_.train_seconds += seconds;
  process_steps_++;
  if (process_steps_ == kEstimateAfter && !done()) show_estimate();
  show_status();
  if (position_.step % log_interval_ != 0) return;
  const double loss = result.loss_sum / experiment_.options.batch_size,
               speed = rate(epoch_samples_, epoch_seconds_);
  log_.add(Json{
      {"event", "step"},
      {"step", position_.step},
      {"epoch", position_.epoch},
      {"loss", loss},
      {"lr", lr},
      {"images_per_second",
       speed}}.dump());
  if (display_.mode() == Display::Mode::plain)
    display_.row(fmt::format("step {} of {}  loss {:.4f}  lr {:.4g}  {:.0f} img/s", position_.step,
                             total_steps_, loss, lr, speed));
}

void TrainLoop::show_status() {
  const auto samples = static_cast<double>(position_.samples);
  const double per_step = process_seconds_ / static_cast<double>(process_steps_);
  const double share = static_cast<double>(position_.batch) / static_cast<double>(loader_.batches());
  const int64_t epochs = (total_steps_ + loader_.batches() - 1) / loader_.batches();
  display_.status(share, fmt::format("epoch {}/{}", position_.epoch + 1, epochs),
                  fmt::format("loss {:.3f}  acc {}  {:.0f} img/s  ETA {}", position_.loss_sum / samples,
                              percent(static_cast<double>(position_.correct) / samples),
                              rate(epoch_samples_, epoch_seconds_),
                              duration(per_step * static_cast<double>(total_steps_ - position_.step))));
}

void TrainLoop::show_estimate() {
  const double per_step = process_seconds_ / static_cast<double>(process_steps_);
  display_.row(fmt::format("about {} to go: {} steps at {:.0f} ms, measured over the first {}",
                           duration(per_step * static_cast<double>(total_steps_ - position_.step)),
                           total_steps_ - position_.step, 1e3 * per_step, process_steps_));
}

void TrainLoop::finish_epoch(bool whole) {
  const bool has_validation = !experiment_.data.held_out.validation.empty();
  if (has_validation)
    validation_ = trainer_.evaluate(experiment_.data.splits.train, experiment_.data.held_out.validation);
  const auto samples = static_cast<double>(position_.samples);
  const double loss = position_.loss_sum / samples,
               accuracy = static_cast<double>(position_.correct) / samples;
  const double lr = lr_at(lr_, position_.step - 1), speed = rate(epoch_samples_, epoch_seconds_);
  const int64_t epoch = position_.epoch + 1;
  const auto or_dash = [&](const std::string& text) { return has_validation ? text : "-"; };

  display_.row(fmt::format("{:>5}  {:>10.4f}  {:>9}  {:>8}  {:>8}  {:>8.4g}  {:>6.0f}  {:>7}", epoch, loss,
                           percent(accuracy), or_dash(fmt::format("{:.4f}", validation_.loss)),
                           or_dash(percent(validation_.accuracy)), lr, speed, duration(epoch_seconds_)));
  summary_.add(fmt::format("{},{:.6f},{:.6f},{},{},{:.6g},{:.1f},{:.2f}", epoch, loss, accuracy,
                           has_validation ? fmt::format("{:.6f}", validation_.loss) : "",
                           has_validation ? fmt::format("{:.6f}", validation_.accuracy) : "", lr, speed,
                           epoch_seconds_));
  Json row{{"event", "epoch"},
           {"epoch", epoch},
           {"step", position_.step},
           {"train_loss", loss},
           {"train_acc", accuracy}};
  if (has_validation) {
    row["val_loss"] = validation_.loss;
    row["val_acc"] = validation_.accuracy;
  }
  row.update(Json{{"lr", lr}, {"images_per_second", speed}, {"seconds", epoch_seconds_}});
  log_.add(row.dump());
  if (epoch == 1 && whole)
    hint_if_at_chance(has_validation ? validation_ : Evaluation{loss, accuracy, position_.samples});

  if (whole) {
    position_.epoch++;
    position_.batch = 0;
    position_.loss_sum = 0;
    position_.correct = position_.samples = 0;
  }
  if (!has_validation || validation_.accuracy > position_.best_accuracy) {
    position_.best_accuracy = has_validation ? validation_.accuracy : -1;
    position_.best_epoch = epoch;
    save("best", false);
  }
  save("last", true);
}

void TrainLoop::hint_if_at_chance(const Evaluation& result) const {
  const int classes = experiment_.classes();
  if (result.accuracy > 1.2 / classes) return;
  display_.line(fmt::format(
      "hint: {} is chance level for {} classes. Try a smaller --lr or more --epochs; look at the labels "
      "with `mbs data check`; see whether --overfit-batch brings the loss near 0",
      percent(result.accuracy), classes));
}

CheckpointInfo TrainLoop::info() const {
  CheckpointInfo info;
  info.position = position_;
  info.position.log_bytes = log_.bytes();
  info.position.summary_bytes = summary_.bytes();
  info.seed = experiment_.options.seed;
  info.normalization = experiment_.data.normalization;
  info.class_names = experiment_.data.splits.train.class_names;
  info.image_border = experiment_.data.splits.train.border;
  return info;
}

void TrainLoop::save(const std::string& file, bool to_train_on) {
  TrainSpans<const real> state = trainer_.state();
  if (!to_train_on) state.velocity = state.trained = {};
  save_checkpoint(fmt::format("{}/{}.safetensors", folder_, file), experiment_.network, state, info());
}

}  // namespace mbs
