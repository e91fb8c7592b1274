// A data set in memory, and loading one by name. Everything is decoded once, before training: 32x32 colour
// images of CIFAR's size are 184 MB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/shape.h"

namespace mbs {

/// One part (training or test) of a data set.
struct Dataset {
  Shape shape;                           ///< of one image
  std::vector<uint8_t> pixels;           ///< count() x h x w x c
  std::vector<int> labels;               ///< count(), each in [0, class_names.size())
  std::vector<std::string> class_names;  ///< the same in both parts
  std::string source;  ///< where it came from, to print: "cifar10 (data/cifar-10-binary.tar.gz)"
  int border = 0;      ///< black pixels that were added on each side (Fashion-MNIST: 2)

  int count() const { return static_cast<int>(labels.size()); }
  int classes() const { return static_cast<int>(class_names.size()); }
  /// The h x w x c bytes of image `index`.
  std::span<const uint8_t> image(int index) const {
    const size_t size = static_cast<size_t>(shape.elems());
    return {pixels.data() + static_cast<size_t>(index) * size, size};
  }
};

/// A whole data set. The validation part is held out of `train` (datasets/split.h).
struct DataSplits {
  Dataset train, test;
  std::vector<std::string>
      notes;  ///< what a user should know about loading it, one line each: links left out, ...
};

/// Which data set, and how.
struct DatasetOptions {
  std::string name = "fashion-mnist";  ///< one of known_datasets()
  std::filesystem::path dir = {};      ///< folder or archive; empty: the default of the data set
  /// Height and width. fashion-mnist: black border up to it (28 and more); cifar10, cifar100: 32 only;
  /// folder: resized to it; synthetic: drawn at it (8 and more).
  int image_size = 32;
  uint64_t seed = 0;            ///< synthetic only: another seed, other images
  int synthetic_train = 10000;  ///< synthetic only: images of the training part
  int synthetic_test = 2000;    ///< synthetic only: images of the test part
  int threads = 0;              ///< folder only: threads that decode; 0: all. 1 starts no thread at all
};

/// A data set that can be loaded by name.
struct DatasetInfo {
  std::string name, description;
  std::string default_dir;  ///< empty: none (synthetic), or must be given (folder)
  int image_size;           ///< height and width that it is best used at
};
const std::vector<DatasetInfo>& known_datasets();

/// Told from time to time how many images are ready; never by two threads at once.
using Progress = std::function<void(int64_t done, int64_t total)>;

/// Loads both parts of a data set. Usage error: unknown name (lists all), impossible image size, folder
/// without dir. Error: files missing, cut off, of a wrong size or format, a label out of range, a broken
/// image; the message names the file and says what to do.
DataSplits load_dataset(const DatasetOptions&, const Progress& = {});

/// Where load_dataset would read from: a folder or an archive, or "" where nothing is there. Reads no data.
std::filesystem::path locate_dataset(const DatasetOptions&);

}  // namespace mbs
