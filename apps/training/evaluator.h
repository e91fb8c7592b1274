// Answers of a trained network: probabilities of images, accuracy on a data set.
#pragma once

#include <span>
#include <vector>

#include "apps/training/checkpoint.h"
#include "datasets/loader.h"
#include "engine/data_parallel.h"

namespace mbs {

/// Means over a set of images.
struct Evaluation {
  double loss = 0, accuracy = 0;
  int64_t samples = 0;
};

/// Forward only, in sub-batches that stay in a cache.
class Evaluator {
 public:
  /// `lender`: as for DataParallel.
  Evaluator(const Network& network, int threads, const DataParallel* lender = nullptr);

  /// `mirrored`: of the mean of the probabilities of every image and of its mirror image.
  Evaluation evaluate(const Dataset& dataset, std::span<const int> indices,
                      const Normalization& normalization, const TrainSpans<const real>& state,
                      bool mirrored = false);
  /// samples x classes probabilities of normalised images; at most batch() samples.
  std::vector<real> probabilities(std::span<const real> images, int samples,
                                  const TrainSpans<const real>& state);
  int batch() const { return batch_; }

 private:
  BatchResult evaluate_mirrored(const LoadedBatch& batch, const TrainSpans<const real>& state);

  const Network& network_;
  int share_;  // samples of a thread at a time
  int batch_;
  DataParallel cores_;
};

}  // namespace mbs
