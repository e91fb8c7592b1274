// Image folders and image files, made here with stb_image_write.
#include <algorithm>
#include <cstring>

#include "datasets/image.h"
#include "datasets/readers.h"
#include "tests/doctest.h"
#include "tests/helpers.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wunused-function"
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

namespace fs = std::filesystem;
using namespace mbs;

namespace {

void write_png(const fs::path& path, int w, int h, int channels, const Bytes& pixels) {
  fs::create_directories(path.parent_path());
  REQUIRE(stbi_write_png(path.c_str(), w, h, channels, pixels.data(), w * channels) != 0);
}

/// A 4x4 image of one colour.
void write_plain(const fs::path& path, uint8_t value) { write_png(path, 4, 4, 3, Bytes(48, value)); }

/// Two classes, two training images and one test image each.
void write_folder(const fs::path& root) {
  write_plain(root / "train" / "b dogs" / "1.png", 10);
  write_plain(root / "train" / "b dogs" / "deep" / "er" / "2.png", 20);
  write_plain(root / "train" / "a cats" / "z.png", 30);
  write_plain(root / "train" / "a cats" / "y.PNG", 40);
  write_plain(root / "test" / "a cats" / "1.png", 50);
  write_plain(root / "test" / "b dogs" / "1.png", 60);
}

DataSplits read(const TempFolder& dir, int size = 4) { return read_image_folder(dir.path(), size, 2); }
std::string read_error(const TempFolder& dir) {
  return error_of([&] { read(dir); });
}

}  // namespace

TEST_CASE("image folder: sorted classes, sorted files, folders in folders") {
  const TempFolder dir;
  write_folder(dir.path());
  write_file(dir / "train" / "a cats" / "notes.txt", {1, 2, 3});
  write_file(dir / "train" / ".hidden" / "x.png", {1});
  write_file(dir / "train" / "readme.png", {1});
  int64_t last = 0;
  const DataSplits data = read_image_folder(dir.path(), 4, 1, [&](int64_t done, int64_t total) {
    last = done;
    EXPECT(total == 6);
  });
  EXPECT(last == 6);
  EXPECT(data.train.class_names == std::vector<std::string>{"a cats", "b dogs"});
  EXPECT(data.train.shape == Shape{4, 4, 3});
  EXPECT(data.train.labels == std::vector<int>{0, 0, 1, 1});
  for (int i = 0; i < 4; ++i) {
    const uint8_t expected[] = {40, 30, 10, 20};  // y.PNG, z.png, 1.png, deep/er/2.png
    EXPECT(std::ranges::equal(data.train.image(i), Bytes(48, expected[i])));
  }
  EXPECT(data.test.labels == std::vector<int>{0, 1});
  EXPECT(data.test.pixels == Bytes(48, 50) + Bytes(48, 60));
  EXPECT(data.notes.empty());
  EXPECT(read(dir).train.pixels == data.train.pixels);

  SUBCASE("val in the place of test, and beside it") {
    fs::create_directories(dir / "val");
    EXPECT(has(read(dir).notes.at(0), {"val/ is not used"}));
    fs::remove(dir / "val");
    fs::rename(dir / "test", dir / "val");
    const DataSplits moved = read(dir);
    EXPECT(moved.test.pixels == data.test.pixels);
    EXPECT(moved.notes.empty());
  }
  SUBCASE("images are resized") {
    const DataSplits large = read(dir, 7);
    EXPECT(large.train.shape == Shape{7, 7, 3});
    EXPECT(std::ranges::equal(large.train.image(0), Bytes(7 * 7 * 3, 40)));
  }
}

TEST_CASE("image folder: links are followed, each image is taken once, in train before test") {
  const TempFolder dir;
  write_folder(dir.path());
  fs::create_symlink(dir / "train" / "a cats" / "z.png", dir / "test" / "a cats" / "leak.png");
  fs::create_symlink(dir / "train" / "b dogs" / "1.png", dir / "train" / "b dogs" / "same.png");
  fs::create_symlink(dir / "train" / "b dogs", dir / "train" / "b dogs" / "deep" / "loop");
  fs::create_symlink(dir / "nowhere.png", dir / "train" / "b dogs" / "broken.png");
  const TempFolder elsewhere;
  write_plain(elsewhere / "far.png", 70);
  fs::create_symlink(elsewhere.path(), dir / "train" / "b dogs" / "more");
  const DataSplits data = read(dir);
  EXPECT(data.train.count() == 5);
  EXPECT(data.test.count() == 2);
  EXPECT(data.train.image(4)[0] == 70);
  REQUIRE(data.notes.size() == 2);
  EXPECT(has(data.notes[0], {"2 files are links"}));
  EXPECT(has(data.notes[1], {"1 links lead to no file"}));
}

TEST_CASE("image folder: what a user can get wrong") {
  const TempFolder dir;
  write_folder(dir.path());
  REQUIRE(read_error(dir).empty());
  SUBCASE("no test part") {
    fs::remove_all(dir / "test");
    EXPECT(has(read_error(dir), {"has no test or val folder", "/test/CLASS/*.png"}));
  }
  SUBCASE("no train part") {
    fs::rename(dir / "train", dir / "Train");
    EXPECT(has(read_error(dir), {"has no train folder", "/train/CLASS/*.png"}));
  }
  SUBCASE("no classes") {
    fs::remove_all(dir / "train");
    write_plain(dir / "train" / "1.png", 1);
    EXPECT(has(read_error(dir), {"train has no class folders"}));
  }
  SUBCASE("an empty class") {
    fs::create_directories(dir / "train" / "c");
    fs::create_directories(dir / "test" / "c");
    EXPECT(has(read_error(dir), {"train/c: this class folder has no image"}));
  }
  SUBCASE("a class of links only") {
    fs::create_directories(dir / "train" / "c");
    fs::create_symlink(dir / "train" / "a cats" / "z.png", dir / "train" / "c" / "z.png");
    write_plain(dir / "test" / "c" / "1.png", 1);
    EXPECT(has(read_error(dir), {"train/c: every image of this class is a link"}));
  }
  SUBCASE("other classes in the test part") {
    write_plain(dir / "train" / "only here" / "1.png", 1);
    write_plain(dir / "test" / "only there" / "1.png", 1);
    EXPECT(has(read_error(dir), {"different classes", "first: only here", "second: only there"}));
  }
  SUBCASE("a broken image") {
    const fs::path broken = dir / "train" / "b dogs" / "broken.png";
    write_png(broken, 9, 9, 3, noise(243, 3));
    const Bytes whole = read_whole(broken);
    write_file(broken, Bytes(whole.begin(), whole.begin() + static_cast<int>(whole.size() / 2)));
    EXPECT(has(read_error(dir), {"b dogs/broken.png: this image cannot be read: ", "replace or remove"}));
    write_file(broken, {});
    EXPECT(has(read_error(dir), {"b dogs/broken.png: this image cannot be read: "}));
    write_file(broken, noise(300, 4));
    EXPECT(has(read_error(dir), {"b dogs/broken.png: this image cannot be read: "}));
  }
  SUBCASE("a size that is none") {
    EXPECT(has(error_of([&] { read(dir, 0); }), {"usage", "--image-size 0"}));
  }
}

TEST_CASE("transparent images are laid over white, grey ones become colour") {
  const TempFolder dir;
  // Opaque red, half transparent black, wholly transparent green.
  write_png(dir / "rgba.png", 3, 1, 4, {255, 0, 0, 255, 0, 0, 0, 127, 0, 255, 0, 0});
  // 255 * (255 - 127) / 255 = 128
  EXPECT(decode_image(dir / "rgba.png").pixels == Bytes{255, 0, 0, 128, 128, 128, 255, 255, 255});
  write_png(dir / "grey.png", 3, 1, 1, {0, 7, 255});
  EXPECT(decode_image(dir / "grey.png").pixels == Bytes{0, 0, 0, 7, 7, 7, 255, 255, 255});
  write_png(dir / "grey-alpha.png", 2, 1, 2, {9, 255, 9, 0});
  EXPECT(decode_image(dir / "grey-alpha.png").pixels == Bytes{9, 9, 9, 255, 255, 255});
  write_file(dir / "a.pgm", Bytes{'P', '5', '\n', '2', ' ', '1', '\n', '2', '5', '5', '\n', 3, 4});
  EXPECT(decode_image(dir / "a.pgm").pixels == Bytes{3, 3, 3, 4, 4, 4});
}

TEST_CASE("JPEG and BMP are read") {
  const TempFolder dir;
  const Bytes plain(5 * 3 * 3, 100);
  REQUIRE(stbi_write_jpg((dir / "a.jpg").c_str(), 5, 3, 3, plain.data(), 95) != 0);
  REQUIRE(stbi_write_bmp((dir / "a.bmp").c_str(), 5, 3, 3, plain.data()) != 0);
  EXPECT(decode_image(dir / "a.bmp").pixels == plain);
  const Image jpeg = decode_image(dir / "a.jpg");
  EXPECT(jpeg.shape == Shape{3, 5, 3});
  for (const uint8_t v : jpeg.pixels) EXPECT(std::abs(v - 100) <= 2);
}

TEST_CASE("resizing") {
  Image image{{2, 4, 3}, {}};
  for (int v : {0, 10, 20, 30, 100, 110, 120, 130})
    image.pixels.insert(image.pixels.end(), 3, static_cast<uint8_t>(v));
  EXPECT(resize_image(image, 2, 4) == image.pixels);
  const auto one = [&](int h, int w) {
    const Bytes pixels = resize_image(image, h, w);
    Bytes red;
    for (size_t i = 0; i < pixels.size(); i += 3) {
      red.push_back(pixels[i]);
      EXPECT(pixels[i + 2] == pixels[i]);
    }
    return red;
  };
  // To one pixel the filter of width 2 * 4 gives columns at distance 0.5 and 1.5 the weights 7/16 and 5/16 of
  // a sum of 24/16, symmetric: the mean of 15 and 115.
  EXPECT(one(1, 1) == Bytes{65});
  // Doubled in height: rows at -0.25, 0.25, 0.75, 1.25 of the two; the outer ones are the edge rows, the
  // inner ones 3/4 and 1/4: 0 + 25, 0 + 75.
  EXPECT(one(4, 4) == Bytes{0, 10, 20, 30, 25, 35, 45, 55, 75, 85, 95, 105, 100, 110, 120, 130});
  // Halved in width: centre 1, reach 2: columns 0..2 with 3/4, 3/4, 1/4 of 7/4 -> (0 + 30 + 20) / 7 = 7.14;
  // mirrored (10 + 60 + 90) / 7 = 22.86.
  EXPECT(one(2, 2) == Bytes{7, 23, 107, 123});
}

TEST_CASE("an image for a network: luma and border") {
  const TempFolder dir;
  write_png(dir / "a.png", 2, 1, 3, {255, 0, 0, 0, 255, 0});
  // 0.299 * 255 = 76.2, 0.587 * 255 = 149.7
  EXPECT(load_image(dir / "a.png", {1, 2, 1}) == Bytes{76, 150});
  EXPECT(load_image(dir / "a.png", {1, 2, 3}) == Bytes{255, 0, 0, 0, 255, 0});
  EXPECT(load_image(dir / "a.png", {3, 4, 1}, 1) == Bytes{0, 0, 0, 0, 0, 76, 150, 0, 0, 0, 0, 0});
  EXPECT(has(error_of([&] { load_image(dir / "none.png", {1, 2, 1}); }), {"none.png", "cannot be read"}));
}

TEST_CASE("image names") {
  for (const char* name : {"a.jpg", "a.JPEG", "a.b.png", "x/a.Ppm", "a.pgm", "a.bmp"})
    EXPECT(is_image_name(name));
  for (const char* name : {"a.gif", "png", "a.png.txt", ".png", "a"}) EXPECT(!is_image_name(name));
}
