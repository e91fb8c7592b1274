// IDX and CIFAR readers on small generated files, whole and broken.
#include <unistd.h>

#include <algorithm>
#include <numeric>

#include "datasets/file_reader.h"
#include "datasets/pixel_normalization.h"
#include "datasets/readers.h"
#include "tests/doctest.h"
#include "tests/helpers.h"

namespace fs = std::filesystem;
using namespace mbs;

namespace {

Bytes big_endian(uint32_t v) {
  return {static_cast<uint8_t>(v >> 24), static_cast<uint8_t>(v >> 16), static_cast<uint8_t>(v >> 8),
          static_cast<uint8_t>(v)};
}

Bytes idx_images(uint32_t n, uint32_t h, uint32_t w) {
  return Bytes{0, 0, 8, 3} + big_endian(n) + big_endian(h) + big_endian(w) + noise(size_t{n} * h * w, 11);
}

Bytes idx_labels(const Bytes& labels) {
  return Bytes{0, 0, 8, 1} + big_endian(static_cast<uint32_t>(labels.size())) + labels;
}

void write_fashion(const fs::path& dir) {
  write_file(dir / "train-images-idx3-ubyte.gz", gzip(idx_images(3, 5, 5)));
  write_file(dir / "train-labels-idx1-ubyte.gz", gzip(idx_labels({9, 0, 4})));
  write_file(dir / "t10k-images.idx3-ubyte", idx_images(2, 5, 5));
  write_file(dir / "t10k-labels.idx1-ubyte", idx_labels({1, 2}));
}

/// CIFAR's form with three records a file instead of ten thousand.
CifarFormat small_format(int classes) {
  CifarFormat format = cifar_format(classes);
  format.train_records = 3;
  format.test_records = 2;
  return format;
}

Bytes record(const CifarFormat& format, uint8_t label, uint64_t key) {
  Bytes bytes(static_cast<size_t>(format.label_bytes), 77);  // a coarse label that must not be taken
  bytes.back() = label;
  return bytes + noise(3072, key);
}

Bytes batch(const CifarFormat& format, int file, int records) {
  Bytes bytes;
  for (int i = 0; i < records; ++i) {
    bytes = bytes +
            record(format, static_cast<uint8_t>((file + 2 * i) % 10), static_cast<uint64_t>(10 * file + i));
  }
  return bytes;
}

Bytes tar_entry(const std::string& name, const Bytes& content, char type = '0') {
  Bytes header(512, 0);
  const auto put = [&](size_t at, const std::string& text) {
    std::copy(text.begin(), text.end(), header.begin() + static_cast<std::ptrdiff_t>(at));
  };
  put(0, name);
  put(124, fmt::format("{:011o}", content.size()));
  put(148, "        ");
  header[156] = static_cast<uint8_t>(type);
  put(257, "ustar");
  put(148, fmt::format("{:06o}", std::accumulate(header.begin(), header.end(), 0)) + std::string("\0 ", 2));
  return header + content + Bytes((512 - content.size() % 512) % 512, 0);
}

/// All files of a small CIFAR by name, in the order of the format.
std::vector<std::pair<std::string, Bytes>> cifar_files(const CifarFormat& format) {
  std::vector<std::pair<std::string, Bytes>> files;
  for (const std::string& name : format.train_files) {
    files.emplace_back(name, batch(format, static_cast<int>(files.size()), format.train_records));
  }
  files.emplace_back(format.test_file, batch(format, 9, format.test_records));
  return files;
}

Bytes cifar_tar(const CifarFormat& format, std::vector<std::pair<std::string, Bytes>> files) {
  // Not in the order of the format, between files that nobody wants.
  std::reverse(files.begin(), files.end());
  Bytes tar = tar_entry(format.folder + "/", {}, '5') + tar_entry("long.name", noise(700, 1), 'L');
  for (const auto& [name, bytes] : files) tar = tar + tar_entry(format.folder + "/" + name, bytes);
  return tar + tar_entry(format.folder + "/readme.html", noise(513, 2)) + Bytes(1024, 0);
}

}  // namespace

TEST_CASE("numbers are printed with commas") {
  EXPECT(with_commas(0) == "0");
  EXPECT(with_commas(999) == "999");
  EXPECT(with_commas(1000) == "1,000");
  EXPECT(with_commas(30730000) == "30,730,000");
  EXPECT(with_commas(-1234567) == "-1,234,567");
}

TEST_CASE("IDX: packed or plain, both spellings, with and without border") {
  const TempFolder dir;
  write_fashion(dir.path());
  const DataSplits plain = read_fashion_mnist(dir.path(), 5);
  EXPECT(plain.train.shape == Shape{5, 5, 1});
  EXPECT(plain.train.pixels == noise(3 * 5 * 5, 11));
  EXPECT(plain.train.labels == std::vector<int>{9, 0, 4});
  EXPECT(plain.test.labels == std::vector<int>{1, 2});
  EXPECT(plain.train.class_names[9] == "ankle boot");
  EXPECT(plain.train.border == 0);
  EXPECT(plain.notes.empty());

  const DataSplits padded = read_fashion_mnist(dir.path(), 9);  // a border of (9 - 5) / 2 = 2
  EXPECT(padded.train.shape == Shape{9, 9, 1});
  EXPECT(padded.train.border == 2);
  EXPECT(padded.notes.size() == 1);
  for (int i = 0; i < 3; ++i) {
    for (int y = 0; y < 9; ++y) {
      for (int x = 0; x < 9; ++x) {
        const bool inside = y >= 2 && y < 7 && x >= 2 && x < 7;
        const int expected = inside ? plain.train.image(i)[static_cast<size_t>((y - 2) * 5 + x - 2)] : 0;
        REQUIRE(padded.train.image(i)[static_cast<size_t>(y * 9 + x)] == expected);
      }
    }
  }
  EXPECT(has(error_of([&] { read_fashion_mnist(dir.path(), 8); }), {"usage", "5x5", "--image-size 8"}));
  EXPECT(has(error_of([&] { read_fashion_mnist(dir.path(), 3); }), {"usage", "--image-size 3"}));
}

TEST_CASE("IDX: broken files are named, with what to do") {
  const TempFolder dir;
  write_fashion(dir.path());
  const fs::path images = dir / "train-images-idx3-ubyte.gz", labels = dir / "train-labels-idx1-ubyte.gz";
  const Bytes whole_images = idx_images(3, 5, 5), packed = gzip(whole_images);
  const auto error = [&] { return error_of([&] { read_fashion_mnist(dir.path(), 5); }); };
  REQUIRE(error().empty());

  SUBCASE("missing") {
    fs::remove(labels);
    EXPECT(has(error(), {"train-labels", "apt-get install dataset-fashion-mnist", "--data-dir"}));
  }
  SUBCASE("cut off gzip") {
    write_file(images, Bytes(packed.begin(), packed.end() - 20));
    EXPECT(has(error(), {"train-images-idx3-ubyte.gz", "cut off", "--reinstall dataset-fashion-mnist"}));
  }
  SUBCASE("corrupt gzip") {
    Bytes corrupt = packed;
    corrupt[packed.size() / 2] ^= 0x40;
    write_file(images, corrupt);
    EXPECT(has(error(), {"train-images-idx3-ubyte.gz", "damaged"}));
  }
  SUBCASE("empty") {
    write_file(images, {});
    EXPECT(has(error(), {"train-images-idx3-ubyte.gz", "cut off"}));
  }
  SUBCASE("labels in the place of images") {
    write_file(images, gzip(idx_labels({1, 2, 3})));
    EXPECT(has(error(), {"not an IDX file of images", "00000801", "00000803"}));
  }
  SUBCASE("fewer bytes than announced") {
    write_file(images, gzip(Bytes(whole_images.begin(), whole_images.end() - 1)));
    EXPECT(has(error(), {"cut off", "74 of the 75 bytes"}));  // 3 images of 5 x 5
  }
  SUBCASE("far fewer bytes than announced: no memory is taken for them") {
    write_file(images,
               gzip(Bytes{0, 0, 8, 3} + big_endian(0x7fffffff) + big_endian(8192) + big_endian(8192)));
    EXPECT(has(error(), {"cut off"}));
  }
  SUBCASE("sizes that cannot be") {
    write_file(images, gzip(Bytes{0, 0, 8, 3} + big_endian(3) + big_endian(0) + big_endian(5)));
    EXPECT(has(error(), {"announces 3 images of 0x5"}));
  }
  SUBCASE("bytes at the end") {
    write_file(images, gzip(whole_images + Bytes{1, 2}));
    EXPECT(has(error(), {"wrong size", "2 bytes follow the 91"}));  // 16 + 75
  }
  SUBCASE("another number of labels") {
    write_file(labels, gzip(idx_labels({1, 2})));
    EXPECT(has(error(), {"train-labels", "2 labels for 3 images"}));
  }
  SUBCASE("a label out of range") {
    write_file(labels, gzip(idx_labels({1, 2, 10})));
    EXPECT(has(error(), {"train-labels", "label 10 of image 2", "0..9"}));
  }
}

TEST_CASE("CIFAR: from its folder and from the archive, 10 and 100 classes") {
  for (const int classes : {10, 100}) {
    CAPTURE(classes);
    const TempFolder dir;
    const CifarFormat format = small_format(classes);
    const auto files = cifar_files(format);
    for (const auto& [name, bytes] : files) write_file(dir / format.folder / name, bytes);
    write_file(dir / format.archive, gzip(cifar_tar(format, files)));

    int64_t done = 0, total = 0;
    const DataSplits from_folder = read_cifar(dir / format.folder, format, [&](int64_t d, int64_t t) {
      EXPECT(d > done);
      done = d, total = t;
    });
    const int train = 3 * static_cast<int>(format.train_files.size());
    EXPECT(done == train + 2);
    EXPECT(total == train + 2);
    REQUIRE(from_folder.train.count() == train);
    REQUIRE(from_folder.test.count() == 2);
    EXPECT(from_folder.train.classes() == classes);
    // Record 1 of the first file: label (0 + 2 * 1), planes noise(1).
    EXPECT(from_folder.train.labels[1] == 2);
    EXPECT(from_folder.test.labels == std::vector<int>{9, 1});  // 9, (9 + 2) % 10
    const Bytes planes = noise(3072, 1);
    for (size_t p = 0; p < 1024; ++p) {
      for (size_t c = 0; c < 3; ++c) REQUIRE(from_folder.train.image(1)[3 * p + c] == planes[1024 * c + p]);
    }
    const DataSplits from_archive = read_cifar(dir / format.archive, format);
    EXPECT(from_archive.train.pixels == from_folder.train.pixels);
    EXPECT(from_archive.train.labels == from_folder.train.labels);
    EXPECT(from_archive.test.pixels == from_folder.test.pixels);
    EXPECT(from_archive.test.labels == from_folder.test.labels);
  }
}

TEST_CASE("CIFAR: the class names are as many as the classes") {
  EXPECT(cifar_format(10).class_names.size() == 10);
  EXPECT(cifar_format(100).class_names.size() == 100);
  const auto& names = cifar_format(100).class_names;
  EXPECT(std::is_sorted(names.begin(), names.end()));
}

TEST_CASE("CIFAR: broken folders and archives are named, with what to do") {
  const TempFolder dir;
  const CifarFormat format = small_format(10);
  auto files = cifar_files(format);
  const auto folder_error = [&] {
    for (const auto& [name, bytes] : files) write_file(dir / name, bytes);
    return error_of([&] { read_cifar(dir.path(), format); });
  };
  const auto archive_error = [&](const Bytes& bytes) {
    write_file(dir / "a.tar.gz", bytes);
    return error_of([&] { read_cifar(dir / "a.tar.gz", format); });
  };
  const Bytes tar = cifar_tar(format, files), packed = gzip(tar);
  REQUIRE(folder_error().empty());
  REQUIRE(archive_error(packed).empty());

  SUBCASE("a file cut off") {
    files[2].second.resize(5000);
    // 3 records of 1 + 3,072 bytes.
    EXPECT(has(folder_error(),
               {"data_batch_3.bin is 5,000 bytes, expected 9,219: cut off", "mbs data get cifar10"}));
    EXPECT(has(archive_error(gzip(cifar_tar(format, files))),
               {"data_batch_3.bin is 5,000 bytes", "it resumes"}));
  }
  SUBCASE("a file too long") {
    files[5].second.push_back(0);
    EXPECT(
        has(folder_error(), {"test_batch.bin is 6,147 bytes, expected 6,146: not this file"}));  // 2 x 3,073
  }
  SUBCASE("a file missing") {
    fs::remove(dir / "data_batch_4.bin");
    EXPECT(has(error_of([&] { read_cifar(dir.path(), format); }), {"has no data_batch_4.bin"}));
    files.erase(files.begin() + 3);
    EXPECT(has(archive_error(gzip(cifar_tar(format, files))),
               {"has no data_batch_4.bin", "mbs data get cifar10"}));
  }
  SUBCASE("a label out of range") {
    files[1].second[3073] = 10;
    EXPECT(has(folder_error(), {"record 1 of data_batch_2.bin has label 10", "0..9"}));
  }
  SUBCASE("archive cut off") {
    EXPECT(has(archive_error(Bytes(packed.begin(), packed.begin() + static_cast<int>(packed.size() / 2))),
               {"a.tar.gz", "cut off", "mbs data get cifar10", "it resumes"}));
  }
  SUBCASE("archive with a flipped bit in its last, unread file") {
    Bytes damaged = packed;
    damaged[damaged.size() - 200] ^= 1;
    EXPECT(has(archive_error(damaged), {"a.tar.gz", "damaged"}));
  }
  SUBCASE("archive whose checksum is wrong, all else right") {
    Bytes damaged = packed;
    damaged[damaged.size() - 8] ^= 1;  // RFC 1952: CRC-32 and size are the last eight bytes
    EXPECT(has(archive_error(damaged), {"a.tar.gz", "damaged"}));
  }
  SUBCASE("a tar header damaged") {
    Bytes damaged = tar;
    damaged[512 + 3] ^= 1;
    EXPECT(has(archive_error(gzip(damaged)), {"a file header is wrong"}));
  }
  SUBCASE("a tar that ends without its end mark") {
    EXPECT(has(archive_error(gzip(Bytes(tar.begin(), tar.end() - 1024))), {"cut off"}));
  }
  SUBCASE("not an archive at all") {
    EXPECT(has(archive_error(noise(4096, 5)), {"not a tar archive"}));
    EXPECT(has(archive_error({}), {"cut off"}));
  }
  SUBCASE("not there") {
    EXPECT(has(error_of([&] { read_cifar(dir / "none", format); }), {"none", "cannot be opened"}));
  }
}

TEST_CASE("data sets by name") {
  EXPECT(has(error_of([] { load_dataset({.name = "cifar11"}); }),
             {"usage", "'cifar11'", "fashion-mnist, cifar10, cifar100, folder, synthetic"}));
  EXPECT(has(error_of([] { load_dataset({.name = "cifar10", .image_size = 28}); }),
             {"usage", "--image-size 28"}));
  EXPECT(has(error_of([] { load_dataset({.name = "folder"}); }), {"usage", "--data-dir"}));

  const TempFolder dir;
  DatasetOptions options{.name = "cifar10", .dir = dir.path()};
  EXPECT(locate_dataset(options).empty());
  fs::create_directories(dir / "cifar-10-batches-py");
  EXPECT(has(error_of([&] { load_dataset(options); }),
             {"has no cifar-10-batches-bin and no cifar-10-binary.tar.gz", "Python version",
              "mbs data get cifar10"}));
  write_file(dir / "cifar-10-binary.tar.gz", {});
  EXPECT(locate_dataset(options) == dir / "cifar-10-binary.tar.gz");
  write_file(dir / "cifar-10-batches-bin" / "test_batch.bin", {});
  EXPECT(locate_dataset(options) == dir / "cifar-10-batches-bin");
  options.dir = dir / "cifar-10-batches-bin";
  EXPECT(locate_dataset(options) == options.dir);
  options.dir = dir / "cifar-10-binary.tar.gz";
  EXPECT(locate_dataset(options) == options.dir);
  EXPECT(locate_dataset({.name = "synthetic"}).empty());
  if (geteuid() != 0) {
    fs::create_directories(dir / "closed");
    fs::permissions(dir / "closed", fs::perms::none);
    EXPECT(has(error_of([&] { load_dataset({.name = "folder", .dir = dir / "closed"}); }), {"permissions"}));
    fs::permissions(dir / "closed", fs::perms::owner_all);
  }
}

TEST_CASE("synthetic: balanced, seeded, an image for each index whatever the count") {
  const DataSplits a =
      load_dataset({.name = "synthetic", .seed = 7, .synthetic_train = 23, .synthetic_test = 11});
  const DataSplits b =
      load_dataset({.name = "synthetic", .seed = 7, .synthetic_train = 5, .synthetic_test = 11});
  const DataSplits c =
      load_dataset({.name = "synthetic", .seed = 8, .synthetic_train = 23, .synthetic_test = 11});
  EXPECT(a.train.shape == Shape{32, 32, 3});
  EXPECT(a.train.count() == 23);
  EXPECT(a.train.classes() == 10);
  EXPECT(a.train.labels[22] == 2);
  EXPECT(std::ranges::equal(a.train.image(4), b.train.image(4)));
  EXPECT(a.test.pixels == b.test.pixels);
  EXPECT(a.train.pixels != c.train.pixels);
  EXPECT(!std::ranges::equal(a.train.image(0), a.test.image(0)));
  EXPECT(!std::ranges::equal(a.train.image(0), a.train.image(10)));  // the same class
  const DataSplits large =
      load_dataset({.name = "synthetic", .image_size = 57, .synthetic_train = 3, .synthetic_test = 1});
  EXPECT(large.train.pixels.size() == 3 * 57 * 57 * 3);
  EXPECT(has(error_of([] { load_dataset({.name = "synthetic", .image_size = 4}); }),
             {"usage", "--image-size 8"}));
}

TEST_CASE("the real Fashion-MNIST") {
  const DatasetOptions options{.name = "fashion-mnist", .image_size = 28};
  if (locate_dataset(options).empty()) {
    DOCTEST_MESSAGE("skipped: the Debian package dataset-fashion-mnist is not installed");
    return;
  }
  const DataSplits data = load_dataset(options);
  EXPECT(data.train.count() == 60000);
  EXPECT(data.test.count() == 10000);
  EXPECT(data.train.shape == Shape{28, 28, 1});
  for (int c = 0; c < 10; ++c) {
    EXPECT(std::count(data.train.labels.begin(), data.train.labels.end(), c) == 6000);
    EXPECT(std::count(data.test.labels.begin(), data.test.labels.end(), c) == 1000);
  }
  std::vector<int> all(60000);
  std::iota(all.begin(), all.end(), 0);
  const Normalization n = compute_normalization(data.train, all);
  // The published values, to their four digits.
  EXPECT(std::abs(n.mean[0] - 0.2860) < 5e-5);
  EXPECT(std::abs(n.stddev[0] - 0.3530) < 5e-5);
}
