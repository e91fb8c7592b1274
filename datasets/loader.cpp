#include "datasets/loader.h"

#include <algorithm>
#include <chrono>

#include "datasets/split.h"
#include "engine/check.h"
#include "engine/random.h"

namespace mbs {

namespace {

Loader::Source dataset_source(const Dataset& data, const Normalization& normalization,
                              const LoaderOptions& options) {
  validate(options.augmentation, data.shape);
  CHECK(static_cast<int>(normalization.mean.size()) == data.shape.c,
        "{} channels normalised, the images have {}", normalization.mean.size(), data.shape.c);
  return [&data, table = pixel_table(normalization), augmentation = options.augmentation,
          seed = options.seed](int index, int64_t epoch, real* out) {
    write_sample(data, {seed, epoch, index}, table, augmentation, out);
    return data.labels[static_cast<size_t>(index)];
  };
}

}  // namespace

Loader::Loader(const Dataset& dataset, std::vector<int> indices, const Normalization& normalization,
               const LoaderOptions& options)
    : Loader(dataset_source(dataset, normalization, options), dataset.shape.elems(), std::move(indices),
             options) {}

Loader::Loader(Source source, int64_t sample_elems, std::vector<int> indices, const LoaderOptions& options)
    : source_(std::move(source)),
      sample_elems_(sample_elems),
      indices_(std::move(indices)),
      options_(options),
      slots_(kSlots) {
  if (options_.batch_size < 1) fail_usage("--batch-size {}: expected at least 1", options_.batch_size);
  if (batches() == 0) {
    fail_usage("{} images do not fill one batch of {}: choose a smaller --batch-size", indices_.size(),
               options_.batch_size);
  }
  const size_t most = std::min(static_cast<size_t>(options_.batch_size), indices_.size());
  for (Slot& slot : slots_) {
    slot.images.resize(most * static_cast<size_t>(sample_elems_));
    slot.labels.resize(most);
  }
}

Loader::~Loader() { stop(); }

int64_t Loader::batches() const {
  const int64_t samples = static_cast<int64_t>(indices_.size()), size = options_.batch_size;
  return options_.drop_last ? samples / size : (samples + size - 1) / size;
}

int64_t Loader::left_out() const {
  return options_.drop_last ? static_cast<int64_t>(indices_.size()) % options_.batch_size : 0;
}

void Loader::stop() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Loader::start(int64_t epoch, int64_t first_batch) {
  CHECK(first_batch >= 0 && first_batch <= batches(), "batch {} of {}", first_batch, batches());
  stop();
  epoch_ = epoch;
  order_ = indices_;
  if (options_.shuffle) shuffle(order_, Random(options_.seed, Stream::shuffle, static_cast<uint64_t>(epoch)));
  filled_ = released_ = served_ = first_batch;
  stopping_ = false;
  error_ = nullptr;
  thread_ = std::thread([this] { run(); });
}

void Loader::run() {
  try {
    for (int64_t batch = filled_; batch < batches(); ++batch) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stopping_ || batch < released_ + kSlots; });
      }
      fill(batch, slots_[static_cast<size_t>(batch % kSlots)]);
      if (stopping_) return;
      {
        const std::lock_guard lock(mutex_);
        filled_ = batch + 1;
      }
      changed_.notify_all();
    }
  } catch (...) {
    const std::lock_guard lock(mutex_);
    error_ = std::current_exception();
    changed_.notify_all();
  }
}

void Loader::fill(int64_t batch, Slot& slot) {
  const size_t size = static_cast<size_t>(options_.batch_size), first = static_cast<size_t>(batch) * size;
  slot.indices = std::span<const int>(order_).subspan(first, std::min(size, order_.size() - first));
  for (size_t i = 0; i < slot.indices.size() && !stopping_; ++i) {
    real* out = slot.images.data() + i * static_cast<size_t>(sample_elems_);
    slot.labels[i] = source_(slot.indices[i], epoch_, out);
  }
}

std::optional<LoadedBatch> Loader::next() {
  CHECK(thread_.joinable(), "next() before start()");
  std::unique_lock lock(mutex_);
  released_ = served_;
  changed_.notify_all();
  if (served_ == batches()) return std::nullopt;
  const auto ready = [&] { return filled_ > served_ || error_; };
  if (!ready()) {
    const auto begin = std::chrono::steady_clock::now();
    changed_.wait(lock, ready);
    wait_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  if (filled_ == served_) std::rethrow_exception(error_);
  const Slot& slot = slots_[static_cast<size_t>(served_++ % kSlots)];
  return LoadedBatch{slot.images.data(), std::span(slot.labels).first(slot.indices.size()), slot.indices};
}

}  // namespace mbs
