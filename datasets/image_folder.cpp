#include <algorithm>
#include <atomic>
#include <mutex>
#include <unordered_set>

#include "datasets/file_reader.h"
#include "datasets/image.h"
#include "datasets/readers.h"
#include "engine/check.h"
#include "engine/parallel.h"

namespace fs = std::filesystem;

namespace mbs {

namespace {

struct File {
  fs::path path;
  int label;
};

/// Walks the parts of an image folder; remembers what it has met.
class Collector {
 public:
  /// Image files of part/CLASS/**, classes and files sorted. Error: a class without images.
  std::vector<File> collect(const fs::path& part, const std::vector<std::string>& classes) {
    std::vector<File> files;
    for (size_t c = 0; c < classes.size(); ++c) {
      const fs::path folder = part / classes[c];
      std::vector<fs::path> found;
      walk(folder, {}, found);
      if (found.empty()) {
        fail("{}: this class folder has no image (jpg jpeg png ppm pgm bmp); add images or remove the folder",
             folder.string());
      }
      const size_t before = files.size();
      for (const fs::path& path : found) {
        if (met_.insert(fs::canonical(path).string()).second) {
          files.push_back({path, static_cast<int>(c)});
        } else {
          ++repeated_;
        }
      }
      if (files.size() == before) {
        fail(
            "{}: every image of this class is a link to one met before (training part first, classes by "
            "name); "
            "give it images of its own",
            folder.string());
      }
    }
    return files;
  }

  std::vector<std::string> notes() const {
    std::vector<std::string> result;
    if (repeated_ > 0) {
      result.push_back(
          fmt::format("{} files are links to images met before and were left out", with_commas(repeated_)));
    }
    if (broken_ > 0) {
      result.push_back(fmt::format("{} links lead to no file and were left out", with_commas(broken_)));
    }
    return result;
  }

 private:
  /// `above`: the real paths of the folders that lead here, so that a link to one of them ends the walk.
  void walk(const fs::path& folder, std::vector<fs::path> above, std::vector<fs::path>& found) {
    const fs::path real_path = fs::canonical(folder);
    if (std::find(above.begin(), above.end(), real_path) != above.end()) return;
    above.push_back(real_path);
    std::vector<fs::path> entries;
    for (const auto& entry : fs::directory_iterator(folder)) entries.push_back(entry.path());
    std::sort(entries.begin(), entries.end());
    for (const fs::path& entry : entries) {
      if (fs::is_directory(entry)) {
        walk(entry, above, found);
      } else if (!is_image_name(entry)) {
        continue;
      } else if (fs::is_regular_file(entry)) {
        found.push_back(entry);
      } else {
        ++broken_;
      }
    }
  }

  std::unordered_set<std::string> met_;
  int64_t repeated_ = 0, broken_ = 0;
};

/// Sorted names of the folders in `part`, hidden ones left out.
std::vector<std::string> class_folders(const fs::path& part) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(part)) {
    const std::string name = entry.path().filename().string();
    if (fs::is_directory(entry) && !name.starts_with('.')) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// What is in `a` and not in `b`, to print.
std::string difference(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  std::vector<std::string> only;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(only));
  if (only.empty()) return "none";
  std::string text = only.front();
  for (size_t i = 1; i < std::min<size_t>(only.size(), 5); ++i) text += ", " + only[i];
  if (only.size() > 5) text += fmt::format(" and {} more", only.size() - 5);
  return text;
}

/// Decodes all files of one part; `done` and `total` count over both parts.
class Decoder {
 public:
  Decoder(int64_t total, int threads, const Progress& progress)
      : total_(total), threads_(threads), progress_(progress) {}

  void decode(const std::vector<File>& files, Dataset& data) {
    data.labels.reserve(files.size());
    for (const File& file : files) data.labels.push_back(file.label);
    data.pixels.resize(files.size() * static_cast<size_t>(data.shape.elems()));
    // After a broken image the others are passed over, so that the message comes at once.
    std::atomic<bool> failed = false;
    parallel_for(static_cast<int>(files.size()), threads_, [&](int i) {
      if (failed) return;
      try {
        const auto pixels =
            resize_image(decode_image(files[static_cast<size_t>(i)].path), data.shape.h, data.shape.w);
        std::copy(pixels.begin(), pixels.end(), data.pixels.begin() + i * data.shape.elems());
      } catch (...) {
        failed = true;
        throw;
      }
      count_one();
    });
  }

 private:
  void count_one() {
    const std::lock_guard lock(mutex_);
    ++done_;
    if (progress_ && (done_ % 256 == 0 || done_ == total_)) progress_(done_, total_);
  }

  const int64_t total_;
  const int threads_;
  const Progress& progress_;
  std::mutex mutex_;
  int64_t done_ = 0;
};

DataSplits read_parts(const fs::path& root, int image_size, int threads, const Progress& progress) {
  const fs::path train = root / "train";
  const bool has_test = fs::is_directory(root / "test");
  const fs::path test = root / (has_test ? "test" : "val");
  if (!fs::is_directory(train) || !fs::is_directory(test)) {
    fail("{} has no {} folder; expected {}/train/CLASS/*.png (or jpg ...) and {}/test/CLASS/*.png",
         root.string(), fs::is_directory(train) ? "test or val" : "train", root.string(), root.string());
  }
  const std::vector<std::string> classes = class_folders(train), test_classes = class_folders(test);
  if (classes.empty())
    fail("{} has no class folders; expected {}/CLASS/*.png", train.string(), train.string());
  if (classes != test_classes) {
    fail("{} and {} have different classes; only in the first: {}; only in the second: {}; make them equal",
         train.string(), test.string(), difference(classes, test_classes), difference(test_classes, classes));
  }
  Collector collector;
  const std::vector<File> train_files = collector.collect(train, classes),
                          test_files = collector.collect(test, classes);

  DataSplits splits;
  for (Dataset* data : {&splits.train, &splits.test}) {
    data->shape = {image_size, image_size, 3};
    data->class_names = classes;
    data->source = fmt::format("image folder {}", root.string());
  }
  Decoder decoder(static_cast<int64_t>(train_files.size() + test_files.size()),
                  threads > 0 ? threads : hardware_threads(), progress);
  decoder.decode(train_files, splits.train);
  decoder.decode(test_files, splits.test);
  splits.notes = collector.notes();
  if (has_test && fs::is_directory(root / "val")) {
    splits.notes.push_back("val/ is not used: validation images are held out of train/");
  }
  return splits;
}

}  // namespace

DataSplits read_image_folder(const fs::path& root, int image_size, int threads, const Progress& progress) {
  if (image_size < 1 || image_size > 4096) fail_usage("--image-size {}: expected 1 to 4096", image_size);
  return read_parts(root, image_size, threads, progress);
}

}  // namespace mbs
