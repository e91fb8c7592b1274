#include <algorithm>
#include <array>

#include "datasets/file_reader.h"
#include "datasets/readers.h"
#include "engine/check.h"

namespace fs = std::filesystem;

namespace mbs {

namespace {

const std::string kHint = "get Fashion-MNIST by `apt-get install --reinstall dataset-fashion-mnist`";

// Sizes up to this are images; it keeps count * h * w far from overflow.
constexpr int64_t kMaxSide = 8192;

/// Reads the header of an IDX file of bytes: 0, 0, 8 (bytes), the number of dimensions, and each as four
/// bytes, most significant first.
std::vector<int64_t> read_idx_header(FileReader& file, size_t dimensions) {
  const std::vector<uint8_t> magic = file.take(4, "the IDX header");
  if (magic[0] != 0 || magic[1] != 0 || magic[2] != 8 || magic[3] != dimensions) {
    file.fail_with(fmt::format(
        "not an IDX file of {}: it starts with {:02x}{:02x}{:02x}{:02x}, expected 0000080{}",
        dimensions == 3 ? "images" : "labels", magic[0], magic[1], magic[2], magic[3], dimensions));
  }
  std::vector<int64_t> sizes(dimensions);
  for (int64_t& size : sizes) {
    const std::vector<uint8_t> b = file.take(4, "the IDX header");
    size = int64_t{b[0]} << 24 | int64_t{b[1]} << 16 | int64_t{b[2]} << 8 | int64_t{b[3]};
  }
  return sizes;
}

void expect_end(FileReader& file, int64_t bytes) {
  if (const int64_t extra = file.drain()) {
    file.fail_with(fmt::format("wrong size: {} bytes follow the {} that its header announces",
                               with_commas(extra), with_commas(bytes)));
  }
}

/// PART-images-idx3-ubyte and its three other spellings.
fs::path find_idx(const fs::path& dir, const std::string& part, const std::string& kind, int dimensions) {
  for (const char* separator : {"-", "."}) {
    for (const char* end : {"", ".gz"}) {
      fs::path path = dir / fmt::format("{}-{}{}idx{}-ubyte{}", part, kind, separator, dimensions, end);
      if (fs::is_regular_file(path)) return path;
    }
  }
  fail(
      "{} has no {}-{}-idx{}-ubyte (.gz or not); get Fashion-MNIST by `apt-get install "
      "dataset-fashion-mnist`, or "
      "name its folder by --data-dir",
      dir.string(), part, kind, dimensions);
}

void add_border(Dataset& data, int size) {
  const Shape inner = data.shape;
  const int border = (size - inner.h) / 2;
  const Shape outer{size, size, inner.c};
  std::vector<uint8_t> pixels(static_cast<size_t>(data.count()) * static_cast<size_t>(outer.elems()), 0);
  for (int i = 0; i < data.count(); ++i) {
    for (int y = 0; y < inner.h; ++y) {
      const auto row = data.image(i).subspan(static_cast<size_t>(y * inner.w), static_cast<size_t>(inner.w));
      const int64_t to = i * outer.elems() + int64_t{y + border} * size + border;
      std::copy(row.begin(), row.end(), pixels.begin() + to);
    }
  }
  data.pixels = std::move(pixels);
  data.shape = outer;
  data.border = border;
}

}  // namespace

Dataset read_idx(const fs::path& images, const fs::path& labels) {
  FileReader image_file(images, kHint);
  const std::vector<int64_t> size = read_idx_header(image_file, 3);
  const int64_t count = size[0], h = size[1], w = size[2];
  if (count < 1 || count > INT32_MAX || h < 1 || h > kMaxSide || w < 1 || w > kMaxSide) {
    image_file.fail_with(fmt::format("its header announces {} images of {}x{}", with_commas(count), h, w));
  }
  Dataset data;
  data.shape = {static_cast<int>(h), static_cast<int>(w), 1};
  data.pixels = image_file.take(count * h * w, "images");
  expect_end(image_file, 16 + count * h * w);

  FileReader label_file(labels, kHint);
  const int64_t label_count = read_idx_header(label_file, 1)[0];
  if (label_count != count) {
    label_file.fail_with(fmt::format("its header announces {} labels for {} images of {}",
                                     with_commas(label_count), with_commas(count), images.string()));
  }
  const std::vector<uint8_t> bytes = label_file.take(count, "labels");
  expect_end(label_file, 8 + count);
  data.labels.assign(bytes.begin(), bytes.end());
  return data;
}

DataSplits read_fashion_mnist(const fs::path& dir, int image_size) {
  const std::vector<std::string> names = {"T-shirt/top", "trouser", "pullover", "dress", "coat",
                                          "sandal",      "shirt",   "sneaker",  "bag",   "ankle boot"};
  DataSplits splits;
  for (auto [part, data] : {std::pair{"train", &splits.train}, std::pair{"t10k", &splits.test}}) {
    const fs::path images = find_idx(dir, part, "images", 3), labels = find_idx(dir, part, "labels", 1);
    *data = read_idx(images, labels);
    const auto bad =
        std::find_if(data->labels.begin(), data->labels.end(), [](int label) { return label > 9; });
    if (bad != data->labels.end()) {
      fail("{}: label {} of image {} is out of range 0..9; {}", labels.string(), *bad,
           bad - data->labels.begin(), kHint);
    }
    const Shape shape = data->shape;
    if (shape.h != shape.w || shape.h > image_size || (image_size - shape.h) % 2 != 0) {
      fail_usage(
          "images of {}x{} get no equal border up to --image-size {}: choose {} or an even number more",
          shape.h, shape.w, image_size, std::max(shape.h, shape.w));
    }
    data->class_names = names;
    if (image_size > shape.h) add_border(*data, image_size);
    data->source = fmt::format("fashion-mnist ({})", dir.string());
  }
  if (splits.test.shape != splits.train.shape)
    fail("{}: training and test images differ in size; {}", dir.string(), kHint);
  if (const int border = splits.train.border) {
    splits.notes.push_back(
        fmt::format("{0}x{0} images with a black border of {1} pixels", image_size - 2 * border, border));
  }
  return splits;
}

}  // namespace mbs
