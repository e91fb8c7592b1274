// A data set of noise, a table that keeps its bytes readable, and its images as training sees them.
#pragma once

#include <vector>

#include "datasets/augment.h"
#include "datasets/dataset.h"
#include "datasets/pixel_normalization.h"
#include "tests/helpers.h"

namespace mbs {

/// `count` images of noise, label = index % classes.
inline Dataset noise_dataset(int count, Shape shape, int classes) {
  Dataset data;
  data.shape = shape;
  data.pixels = noise(static_cast<size_t>(count * shape.elems()), 5);
  for (int i = 0; i < count; ++i) data.labels.push_back(i % classes);
  for (int c = 0; c < classes; ++c) data.class_names.push_back(fmt::format("class {}", c));
  return data;
}

/// Values 0, 1, 2, ... in place of normalised ones, so that every byte can be told from 0 after normalising.
inline PixelTable plain_table(int channels, real black) {
  PixelTable table(static_cast<size_t>(channels));
  for (auto& values : table) {
    for (size_t v = 0; v < 256; ++v) values[v] = black + static_cast<real>(v);
  }
  return table;
}

/// An image as write_sample() gives it.
inline std::vector<real> write(const Dataset& data, const SampleKey& key, const PixelTable& table,
                               const Augmentation& a) {
  std::vector<real> out(static_cast<size_t>(data.shape.elems()), real(-999));
  write_sample(data, key, table, a, out.data());
  return out;
}

}  // namespace mbs
