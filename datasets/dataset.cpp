#include "datasets/dataset.h"

#include <algorithm>

#include "datasets/readers.h"
#include "engine/check.h"

namespace fs = std::filesystem;

namespace mbs {

namespace {

const DatasetInfo& find_info(const std::string& name) {
  const auto& known = known_datasets();
  const auto info =
      std::find_if(known.begin(), known.end(), [&](const DatasetInfo& i) { return i.name == name; });
  if (info != known.end()) return *info;
  std::string names;
  for (const DatasetInfo& i : known) names += (names.empty() ? "" : ", ") + i.name;
  fail_usage("no data set is called '{}'; known: {}", name, names);
}

fs::path dir_of(const DatasetOptions& options) {
  return options.dir.empty() ? fs::path(find_info(options.name).default_dir) : options.dir;
}

const CifarFormat& cifar_of(const std::string& name) { return cifar_format(name == "cifar10" ? 10 : 100); }

/// The folder with CIFAR's files or its archive, in `dir` or `dir` itself; "" where neither is there.
fs::path locate_cifar(const fs::path& dir, const CifarFormat& format) {
  if (fs::is_regular_file(dir) || fs::exists(dir / format.test_file)) return dir;
  for (const fs::path& path : {dir / format.folder, dir / format.archive}) {
    if (fs::exists(path)) return path;
  }
  return {};
}

DataSplits load_cifar(const DatasetOptions& options, const Progress& progress) {
  const CifarFormat& format = cifar_of(options.name);
  if (options.image_size != 32) {
    fail_usage("{} is 32x32: --image-size {} is not possible", options.name, options.image_size);
  }
  const fs::path source = locate_dataset(options);
  if (source.empty()) {
    const std::string python = options.name == "cifar10" ? "cifar-10-batches-py" : "cifar-100-python";
    fail("{} has no {} and no {}{}; run `mbs data get {}`, or name the place by --data-dir",
         dir_of(options).string(), format.folder, format.archive,
         fs::exists(dir_of(options) / python) ? fmt::format(" ({} is the Python version)", python) : "",
         options.name);
  }
  return read_cifar(source, format, progress);
}

DataSplits load_folder(const DatasetOptions& options, const Progress& progress) {
  if (options.dir.empty())
    fail_usage("--dataset folder needs --data-dir DIR with DIR/train/CLASS/*.png and DIR/test/...");
  return read_image_folder(options.dir, options.image_size, options.threads, progress);
}

}  // namespace

const std::vector<DatasetInfo>& known_datasets() {
  static const std::vector<DatasetInfo> known = {
      {"fashion-mnist",
       "60,000 + 10,000 grey images of clothes, 10 classes; Debian package dataset-fashion-mnist",
       "/usr/share/datasets/fashion-mnist", 32},
      {"cifar10", "50,000 + 10,000 colour images 32x32, 10 classes; `mbs data get cifar10`", "data", 32},
      {"cifar100", "50,000 + 10,000 colour images 32x32, 100 classes; `mbs data get cifar100`", "data", 32},
      {"folder", "your own images: DIR/train/CLASS/*.png and DIR/test/CLASS/*.png (or jpg, ppm, pgm, bmp)",
       "", 32},
      {"synthetic", "drawn shapes on noise, 10 classes, any size; to try things out, never an accuracy claim",
       "", 32},
  };
  return known;
}

fs::path locate_dataset(const DatasetOptions& options) {
  const fs::path dir = dir_of(options);
  if (dir.empty()) return {};
  if (options.name.starts_with("cifar")) return locate_cifar(dir, cifar_of(options.name));
  return fs::is_directory(dir) ? dir : fs::path();
}

DataSplits load_dataset(const DatasetOptions& options, const Progress& progress) {
  find_info(options.name);
  try {
    if (options.name == "fashion-mnist") return read_fashion_mnist(dir_of(options), options.image_size);
    if (options.name == "folder") return load_folder(options, progress);
    if (options.name == "synthetic") {
      return draw_synthetic(options.synthetic_train, options.synthetic_test, options.image_size,
                            options.seed);
    }
    return load_cifar(options, progress);
  } catch (const fs::filesystem_error& error) {
    fail("{}: {}; check the folder and its permissions", error.path1().string(), error.code().message());
  }
}

}  // namespace mbs
