#include "apps/training/evaluator.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/check.h"
#include "engine/schedule.h"

namespace mbs {
namespace {

/// Samples that a thread evaluates at a time: as many as of 32x32x3 in memory, but enough of large images to
/// be worth preparing the weights for.
int evaluation_share(const Network& network) {
  constexpr int64_t kElems = int64_t{64} * 32 * 32 * 3, kFewest = 8, kMost = 64;
  const int64_t image = network.tensor(network.input()).shape.elems();
  return static_cast<int>(std::clamp(kElems / image, kFewest, kMost));
}

constexpr int kSubBatchesOfShare = 4;

}  // namespace

Evaluator::Evaluator(const Network& network, int threads, const DataParallel* lender)
    : network_(network),
      share_(evaluation_share(network)),
      batch_(share_ * threads),
      cores_(network, forward_only(network, share_, share_ / kSubBatchesOfShare), batch_, threads, threads,
             lender) {}

Evaluation Evaluator::evaluate(const Dataset& dataset, std::span<const int> indices,
                               const Normalization& normalization, const TrainSpans<const real>& state,
                               bool mirrored) {
  Evaluation mean;
  if (indices.empty()) return mean;
  LoaderOptions options;
  options.batch_size = batch_;
  options.shuffle = options.drop_last = false;
  Loader loader(dataset, {indices.begin(), indices.end()}, normalization, options);
  loader.start(0);
  int64_t correct = 0;
  while (const auto batch = loader.next()) {
    const BatchResult result = mirrored
                                   ? evaluate_mirrored(*batch, state)
                                   : cores_.evaluate({batch->samples(), batch->images, batch->labels.data()},
                                                     state.params, state.states);
    mean.loss += result.loss_sum;
    correct += result.correct;
    mean.samples += batch->samples();
  }
  mean.loss /= static_cast<double>(mean.samples);
  mean.accuracy = static_cast<double>(correct) / static_cast<double>(mean.samples);
  return mean;
}

BatchResult Evaluator::evaluate_mirrored(const LoadedBatch& batch, const TrainSpans<const real>& state) {
  const Shape shape = network_.tensor(network_.input()).shape;
  std::vector<real> images(batch.images, batch.images + batch.samples() * shape.elems());
  std::vector<real> mean = probabilities(images, batch.samples(), state);
  for (size_t row = 0; row < images.size(); row += static_cast<size_t>(shape.w * shape.c))
    mirror_row(shape.w, shape.c, &images[row]);
  const std::vector<real> mirrored = probabilities(images, batch.samples(), state);
  for (size_t i = 0; i < mean.size(); ++i) mean[i] = (mean[i] + mirrored[i]) / 2;

  BatchResult result;
  const auto classes = static_cast<size_t>(network_.classes());
  const real* p = mean.data();
  for (const int label : batch.labels) {
    result.loss_sum -= std::log(static_cast<double>(std::max(p[label], std::numeric_limits<real>::min())));
    result.correct += names_label({p, classes}, label);
    p += classes;
  }
  return result;
}

std::vector<real> Evaluator::probabilities(std::span<const real> images, int samples,
                                           const TrainSpans<const real>& state) {
  CHECK(samples <= batch_, "{} samples are more than {}", samples, batch_);
  std::vector<real> probabilities(static_cast<size_t>(samples * network_.classes()));
  const std::vector<int> unknown(static_cast<size_t>(samples), -1);
  cores_.evaluate({samples, images.data(), unknown.data()}, state.params, state.states, probabilities);
  return probabilities;
}

}  // namespace mbs
