// `mbs data check`: what is in a data set, and what is wrong with it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/pixel_normalization.h"

namespace mbs {

/// One part of a data set.
struct PartReport {
  int64_t images = 0;
  std::vector<int64_t> class_counts;  ///< by class
  Normalization statistics;           ///< of all its images
  int64_t duplicates = 0;             ///< images equal, pixel for pixel, to an earlier one of this part
  int64_t contradictions = 0;         ///< those of them whose label differs from the earlier one's
  int64_t bad_labels = 0;             ///< labels that name no class
};

/// A data set.
struct DatasetReport {
  Shape shape;
  std::vector<std::string> class_names;
  PartReport train, test;
  int64_t leaked = 0;                 ///< test images equal to an image of the training part
  std::vector<std::string> problems;  ///< what a user should look at, one line each; empty: nothing found
};

/// Looks at every pixel once. Duplicates are found by hash, then compared.
DatasetReport check_dataset(const DataSplits&);

}  // namespace mbs
