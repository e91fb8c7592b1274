// Batches of an epoch, prepared by a thread of its own while the last one trains.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "datasets/augment.h"
#include "datasets/dataset.h"
#include "datasets/pixel_normalization.h"
#include "engine/real.h"

namespace mbs {

struct LoaderOptions {
  int batch_size = 128;
  uint64_t seed = 0;
  bool shuffle =
      true;  ///< a new order each epoch: Random(seed, Stream::shuffle, epoch); false: as the indices are
  bool drop_last = true;  ///< leave out the last samples of an epoch where they do not fill a batch
  Augmentation augmentation = kNoAugmentation;
};

/// A batch in the loader's memory.
struct LoadedBatch {
  const real* images = nullptr;  ///< samples() x h x w x c
  std::span<const int> labels;   ///< samples()
  std::span<const int> indices;  ///< samples(): positions in the data set
  int samples() const { return static_cast<int>(labels.size()); }
};

/// Serves the batches of one epoch after the other. What it serves depends on its arguments and on (epoch,
/// batch), never on timing. One thread calls it.
class Loader {
 public:
  /// Writes the sample at `index` for `epoch` to out and returns its label. Runs on the loader's thread.
  using Source = std::function<int(int index, int64_t epoch, real* out)>;

  /// Batches of `dataset` (which must outlive the loader) at `indices`. Usage error: no batch in an epoch.
  Loader(const Dataset& dataset, std::vector<int> indices, const Normalization&, const LoaderOptions&);
  /// Batches of any source of samples of `sample_elems` values. `options.augmentation` is the source's
  /// business.
  Loader(Source source, int64_t sample_elems, std::vector<int> indices, const LoaderOptions& options);
  /// Stops and joins the thread; waits for the sample being written at most.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// Batches of an epoch, and samples of an epoch that are in none (drop_last).
  int64_t batches() const;
  int64_t left_out() const;

  /// Begins an epoch, at batch `first_batch` where a stopped run goes on; drops what an earlier start() left.
  void start(int64_t epoch, int64_t first_batch = 0);

  /// The next batch of the epoch, nothing after the last. Valid until the next call of next() or start().
  /// Rethrows what the source threw.
  std::optional<LoadedBatch> next();

  /// Seconds that next() has waited for a batch, over all epochs: what loading costs the training.
  double wait_seconds() const { return wait_seconds_; }

 private:
  // Three slots: one with the caller, one ready, one being filled.
  static constexpr int64_t kSlots = 3;
  struct Slot {
    std::vector<real> images;
    std::vector<int> labels;
    std::span<const int> indices;  // into order_
  };

  void run();
  void fill(int64_t batch, Slot& slot);
  void stop();

  const Source source_;
  const int64_t sample_elems_;
  const std::vector<int> indices_;
  const LoaderOptions options_;
  std::vector<int> order_;  // of this epoch
  int64_t epoch_ = 0;
  std::vector<Slot> slots_;  // batch b lies in slot b % kSlots
  double wait_seconds_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t filled_ = 0;        // batches of this epoch that are ready, guarded by mutex_
  int64_t released_ = 0;      // batches that the caller is done with, guarded by mutex_
  int64_t served_ = 0;        // batches handed to the caller; the caller's thread only
  std::exception_ptr error_;  // guarded by mutex_
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace mbs
