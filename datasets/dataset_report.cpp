#include "datasets/dataset_report.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <unordered_map>

#include "datasets/file_reader.h"
#include "engine/check.h"
#include "engine/random.h"

namespace mbs {

namespace {

uint64_t hash_image(std::span<const uint8_t> image) {
  uint64_t hash = image.size();
  for (size_t i = 0; i < image.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, image.data() + i, std::min<size_t>(8, image.size() - i));
    hash = mix_bits(hash ^ word);
  }
  return hash;
}

/// The different images of one part, by hash.
class ImageSet {
 public:
  explicit ImageSet(const Dataset& data) : data_(data) {}

  /// Index of an image in the set that is equal, or -1.
  int find(std::span<const uint8_t> image, uint64_t hash) const {
    const auto [begin, end] = by_hash_.equal_range(hash);
    for (auto it = begin; it != end; ++it) {
      if (std::ranges::equal(data_.image(it->second), image)) return it->second;
    }
    return -1;
  }
  void insert(int index, uint64_t hash) { by_hash_.emplace(hash, index); }

 private:
  const Dataset& data_;
  std::unordered_multimap<uint64_t, int> by_hash_;
};

PartReport check_part(const Dataset& data, ImageSet& set, const ImageSet* other, int64_t& leaked) {
  PartReport report;
  report.images = data.count();
  report.class_counts.assign(data.class_names.size(), 0);
  for (int i = 0; i < data.count(); ++i) {
    const int label = data.labels[static_cast<size_t>(i)];
    if (label >= 0 && label < data.classes()) {
      ++report.class_counts[static_cast<size_t>(label)];
    } else {
      ++report.bad_labels;
    }
    const std::span<const uint8_t> image = data.image(i);
    const uint64_t hash = hash_image(image);
    const int earlier = set.find(image, hash);
    if (earlier < 0) set.insert(i, hash);
    if (earlier >= 0) ++report.duplicates;
    if (earlier >= 0 && data.labels[static_cast<size_t>(earlier)] != label) ++report.contradictions;
    if (other != nullptr && other->find(image, hash) >= 0) ++leaked;
  }
  if (data.count() > 0) {
    std::vector<int> all(data.labels.size());
    std::iota(all.begin(), all.end(), 0);
    report.statistics = compute_normalization(data, all);
  }
  return report;
}

void list_problems(const PartReport& part, const std::string& name, const std::vector<std::string>& classes,
                   std::vector<std::string>& problems) {
  if (part.images == 0) problems.push_back(fmt::format("{}: no images", name));
  if (part.bad_labels > 0) {
    problems.push_back(fmt::format("{}: {} labels are out of range 0..{}", name, with_commas(part.bad_labels),
                                   static_cast<int64_t>(classes.size()) - 1));
  }
  for (size_t c = 0; c < classes.size(); ++c) {
    if (part.class_counts[c] == 0)
      problems.push_back(fmt::format("{}: class {} has no images", name, classes[c]));
  }
  if (part.duplicates > 0) {
    problems.push_back(fmt::format("{}: {} images are copies of another ({} with another label)", name,
                                   with_commas(part.duplicates), with_commas(part.contradictions)));
  }
}

}  // namespace

DatasetReport check_dataset(const DataSplits& splits) {
  DatasetReport report;
  report.shape = splits.train.shape;
  report.class_names = splits.train.class_names;
  ImageSet train(splits.train), test(splits.test);
  report.train = check_part(splits.train, train, nullptr, report.leaked);
  report.test = check_part(splits.test, test, &train, report.leaked);
  list_problems(report.train, "train", report.class_names, report.problems);
  list_problems(report.test, "test", report.class_names, report.problems);
  if (report.leaked > 0) {
    report.problems.push_back(
        fmt::format("{} test images are also in the training part: the test accuracy is too high",
                    with_commas(report.leaked)));
  }
  return report;
}

}  // namespace mbs
