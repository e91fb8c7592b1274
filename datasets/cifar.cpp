#include <algorithm>

#include "datasets/file_reader.h"
#include "datasets/readers.h"
#include "datasets/tar.h"
#include "engine/check.h"

namespace fs = std::filesystem;

namespace mbs {

namespace {

constexpr int kSide = 32;
constexpr int64_t kPlane = kSide * kSide;

const CifarFormat kCifar10 = {
    .name = "cifar10",
    .archive = "cifar-10-binary.tar.gz",
    .folder = "cifar-10-batches-bin",
    .train_files = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                    "data_batch_5.bin"},
    .test_file = "test_batch.bin",
    .train_records = 10000,
    .test_records = 10000,
    .label_bytes = 1,
    .class_names = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"},
};

const CifarFormat kCifar100 = {
    .name = "cifar100",
    .archive = "cifar-100-binary.tar.gz",
    .folder = "cifar-100-binary",
    .train_files = {"train.bin"},
    .test_file = "test.bin",
    .train_records = 50000,
    .test_records = 10000,
    .label_bytes = 2,
    // fine_label_names.txt: the fine labels are numbered in the order of the alphabet.
    .class_names = {"apple",       "aquarium_fish", "baby",      "bear",       "beaver",       "bed",
                    "bee",         "beetle",        "bicycle",   "bottle",     "bowl",         "boy",
                    "bridge",      "bus",           "butterfly", "camel",      "can",          "castle",
                    "caterpillar", "cattle",        "chair",     "chimpanzee", "clock",        "cloud",
                    "cockroach",   "couch",         "crab",      "crocodile",  "cup",          "dinosaur",
                    "dolphin",     "elephant",      "flatfish",  "forest",     "fox",          "girl",
                    "hamster",     "house",         "kangaroo",  "keyboard",   "lamp",         "lawn_mower",
                    "leopard",     "lion",          "lizard",    "lobster",    "man",          "maple_tree",
                    "motorcycle",  "mountain",      "mouse",     "mushroom",   "oak_tree",     "orange",
                    "orchid",      "otter",         "palm_tree", "pear",       "pickup_truck", "pine_tree",
                    "plain",       "plate",         "poppy",     "porcupine",  "possum",       "rabbit",
                    "raccoon",     "ray",           "road",      "rocket",     "rose",         "sea",
                    "seal",        "shark",         "shrew",     "skunk",      "skyscraper",   "snail",
                    "snake",       "spider",        "squirrel",  "streetcar",  "sunflower",    "sweet_pepper",
                    "table",       "tank",          "telephone", "television", "tiger",        "tractor",
                    "train",       "trout",         "tulip",     "turtle",     "wardrobe",     "whale",
                    "willow_tree", "wolf",          "woman",     "worm"},
};

/// Takes in the files of a CIFAR one by one, in any order, each to its place.
class CifarBuilder {
 public:
  CifarBuilder(const CifarFormat& format, const fs::path& source, const Progress& progress)
      : format_(format), source_(source), progress_(progress), found_(format.train_files.size() + 1, false) {
    prepare(splits_.train, int64_t{format.train_records} * static_cast<int64_t>(format.train_files.size()));
    prepare(splits_.test, format.test_records);
  }

  std::string hint() const {
    if (fs::is_directory(source_)) {
      return fmt::format("remove the folder and run `mbs data get {}`", format_.name);
    }
    return fmt::format("run `mbs data get {}`, it resumes", format_.name);
  }

  /// Whether a file of this name (of its last component) is wanted; Error if its size is wrong.
  bool want(const std::string& path, int64_t bytes) const {
    const size_t file = find(path);
    if (file == found_.size()) return false;
    const int64_t expected = int64_t{records(file)} * record_bytes();
    if (bytes != expected) {
      fail("{}: {} is {} bytes, expected {}: {}; {}", source_.string(), fs::path(path).filename().string(),
           with_commas(bytes), with_commas(expected), bytes < expected ? "cut off" : "not this file", hint());
    }
    return true;
  }

  void take(const std::string& path, std::span<const uint8_t> content) {
    const size_t file = find(path);
    const bool test = file == format_.train_files.size();
    Dataset& data = test ? splits_.test : splits_.train;
    const int64_t first = test ? 0 : static_cast<int64_t>(file) * format_.train_records;
    for (int64_t i = 0; i < records(file); ++i) {
      const uint8_t* record = content.data() + i * record_bytes();
      const int label = record[format_.label_bytes - 1];
      if (label >= data.classes()) {
        fail("{}: record {} of {} has label {}, out of range 0..{}: damaged; {}", source_.string(), i,
             fs::path(path).filename().string(), label, data.classes() - 1, hint());
      }
      data.labels[static_cast<size_t>(first + i)] = label;
      // Three planes become one image of three channels.
      uint8_t* out = data.pixels.data() + (first + i) * 3 * kPlane;
      const uint8_t* planes = record + format_.label_bytes;
      for (int64_t p = 0; p < kPlane; ++p) {
        for (int64_t c = 0; c < 3; ++c) out[3 * p + c] = planes[c * kPlane + p];
      }
    }
    found_[file] = true;
    done_ += records(file);
    if (progress_) progress_(done_, splits_.train.count() + splits_.test.count());
  }

  DataSplits finish() {
    for (size_t file = 0; file < found_.size(); ++file) {
      if (!found_[file]) fail("{} has no {}; {}", source_.string(), name(file), hint());
    }
    return std::move(splits_);
  }

  const std::string& name(size_t file) const {
    return file < format_.train_files.size() ? format_.train_files[file] : format_.test_file;
  }
  size_t files() const { return found_.size(); }

 private:
  void prepare(Dataset& data, int64_t count) const {
    data.shape = {kSide, kSide, 3};
    data.class_names = format_.class_names;
    data.labels.resize(static_cast<size_t>(count));
    data.pixels.resize(static_cast<size_t>(count * data.shape.elems()));
    data.source = fmt::format("{} ({})", format_.name, source_.string());
  }

  size_t find(const std::string& path) const {
    const std::string wanted = fs::path(path).filename().string();
    size_t file = 0;
    while (file < found_.size() && name(file) != wanted) ++file;
    return file;
  }
  int records(size_t file) const {
    return file < format_.train_files.size() ? format_.train_records : format_.test_records;
  }
  int64_t record_bytes() const { return format_.label_bytes + 3 * kPlane; }

  const CifarFormat& format_;
  const fs::path source_;
  const Progress& progress_;
  DataSplits splits_;
  std::vector<bool> found_;  // the training files, then the test file
  int64_t done_ = 0;
};

}  // namespace

const CifarFormat& cifar_format(int classes) {
  CHECK(classes == 10 || classes == 100, "CIFAR has 10 or 100 classes, not {}", classes);
  return classes == 10 ? kCifar10 : kCifar100;
}

DataSplits read_cifar(const fs::path& source, const CifarFormat& format, const Progress& progress) {
  CifarBuilder builder(format, source, progress);
  if (fs::is_directory(source)) {
    for (size_t file = 0; file < builder.files(); ++file) {
      const fs::path path = source / builder.name(file);
      std::error_code missing;
      const auto bytes = static_cast<int64_t>(fs::file_size(path, missing));
      if (missing || !builder.want(path.string(), bytes)) continue;
      builder.take(path.string(), FileReader(path, builder.hint()).take(bytes, "records"));
    }
  } else {
    FileReader file(source, builder.hint());
    read_tar(
        file, [&](const std::string& name, int64_t bytes) { return builder.want(name, bytes); },
        [&](const std::string& name, std::span<const uint8_t> content) { builder.take(name, content); });
  }
  return builder.finish();
}

}  // namespace mbs
