// The readers behind load_dataset, one file each. Errors as there.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "datasets/dataset.h"

namespace mbs {

/// IDX files (LeCun's MNIST format), .gz or plain, `-idx3-` or `.idx3-`: train-images, train-labels,
/// t10k-images, t10k-labels in one folder. Images of `image_size` and less get a black border up to it.
DataSplits read_fashion_mnist(const std::filesystem::path& dir, int image_size);

/// One image file and its label file, as they are. Shape h x w x 1; class names are left empty.
Dataset read_idx(const std::filesystem::path& images, const std::filesystem::path& labels);

/// A binary version of CIFAR: files of equal records, each some label bytes (the last one counts) and then 32
/// x 32 red, green and blue bytes.
struct CifarFormat {
  std::string name;             ///< of the data set: "cifar10"
  std::string archive, folder;  ///< as downloaded, and the folder inside it
  std::vector<std::string> train_files;
  std::string test_file;
  int train_records, test_records;  ///< in each file
  int label_bytes;
  std::vector<std::string> class_names;
};
/// classes: 10 or 100 (the fine labels).
const CifarFormat& cifar_format(int classes);

/// Reads CIFAR from its folder or from the tar.gz as downloaded, which is not unpacked.
DataSplits read_cifar(const std::filesystem::path& source, const CifarFormat&, const Progress& = {});

/// root/train/CLASS/**, root/test or root/val the same way. Class index = place among the sorted names. Links
/// are followed; a file that was met before (by its real path, in train first) is left out and counted in the
/// notes.
DataSplits read_image_folder(const std::filesystem::path& root, int image_size, int threads,
                             const Progress& = {});

/// Coloured shapes on a coloured, noisy ground: 10 classes = 5 shapes x filled or outlined. Balanced; image i
/// of a part is a function of (seed, part, i).
DataSplits draw_synthetic(int train, int test, int image_size, uint64_t seed);

}  // namespace mbs
