// From a data set to batches: normalisation, hold-out, loader.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <numeric>
#include <set>

#include "datasets/loader.h"
#include "datasets/pixel_normalization.h"
#include "datasets/split.h"
#include "tests/doctest.h"
#include "tests/helpers.h"
#include "tests/noise_dataset.h"

using namespace mbs;

namespace {

std::vector<int> first_indices(int count) {
  std::vector<int> indices(static_cast<size_t>(count));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

struct Epoch {
  std::vector<int> indices, labels, sizes;
  std::vector<real> images;
};

Epoch read_epoch(Loader& loader, int64_t epoch, int64_t first_batch = 0, int64_t sample_elems = 0) {
  Epoch result;
  loader.start(epoch, first_batch);
  while (const auto batch = loader.next()) {
    result.indices.insert(result.indices.end(), batch->indices.begin(), batch->indices.end());
    result.labels.insert(result.labels.end(), batch->labels.begin(), batch->labels.end());
    result.images.insert(result.images.end(), batch->images, batch->images + batch->samples() * sample_elems);
    result.sizes.push_back(batch->samples());
  }
  return result;
}

}  // namespace

TEST_CASE("normalisation: mean and deviation of the chosen images") {
  Dataset data;
  data.shape = {1, 2, 2};
  data.labels = {0, 0, 0};
  //              image 0       image 1 (not chosen)    image 2
  data.pixels = {0, 50, 20, 50, 255, 255, 255, 255, 40, 50, 60, 50};
  const std::vector<int> chosen = {2, 0};
  const Normalization n = compute_normalization(data, chosen);
  REQUIRE(n.mean.size() == 2);
  // Channel 0 holds 0, 20, 40, 60: mean 30, variance (900 + 100 + 100 + 900) / 4 = 500. Channel 1 is
  // constant.
  EXPECT(std::abs(n.mean[0] - 30.0 / 255) < 1e-15);
  EXPECT(std::abs(n.stddev[0] - std::sqrt(500.0) / 255) < 1e-15);
  EXPECT(std::abs(n.mean[1] - 50.0 / 255) < 1e-15);
  EXPECT(n.stddev[1] == 1);
  const std::vector<int> turned = {0, 2};
  EXPECT(compute_normalization(data, turned) == n);

  const PixelTable table = pixel_table(n);
  EXPECT(table[0][40] == static_cast<real>((40.0 / 255 - n.mean[0]) / n.stddev[0]));
  EXPECT(table[1][50] == 0);
}

TEST_CASE("normalise: every channel by its own table") {
  for (const int channels : {1, 2, 3, 4}) {
    const Bytes pixels = noise(static_cast<size_t>(7 * channels), 3);
    PixelTable table = plain_table(channels, 0);
    for (size_t c = 0; c < table.size(); ++c) {
      for (real& v : table[c]) v += static_cast<real>(1000 * c);
    }
    std::vector<real> out(pixels.size());
    normalize(pixels, table, out.data());
    for (size_t i = 0; i < out.size(); ++i) {
      EXPECT(out[i] == static_cast<real>(1000 * (i % static_cast<size_t>(channels)) + pixels[i]));
    }
  }
}

TEST_CASE("hold-out: stratified, seeded, sorted, a partition") {
  Dataset data = noise_dataset(101, {1, 1, 1}, 7);  // classes 0..2 have 15 images, 3..6 have 14
  data.labels[100] = 6;                             // ... now class 2 has 14, class 6 has 15
  const HeldOut held = hold_out(data, 0.2, 3);
  std::vector<int> count(7, 0);
  for (const int i : held.validation) ++count[static_cast<size_t>(data.labels[static_cast<size_t>(i)])];
  EXPECT(count == std::vector<int>(7, 3));  // 0.2 * 15 = 3, 0.2 * 14 = 2.8
  EXPECT(std::is_sorted(held.train.begin(), held.train.end()));
  EXPECT(std::is_sorted(held.validation.begin(), held.validation.end()));
  std::vector<int> all = held.train;
  all.insert(all.end(), held.validation.begin(), held.validation.end());
  std::sort(all.begin(), all.end());
  EXPECT(all == first_indices(101));

  EXPECT(hold_out(data, 0.2, 3).validation == held.validation);
  EXPECT(hold_out(data, 0.2, 4).validation != held.validation);
  EXPECT(hold_out(data, 0, 3).validation.empty());
  EXPECT(hold_out(data, 0, 3).train == first_indices(101));
  EXPECT(hold_out(data, 0.999, 3).train.size() == 7);  // one image of each class stays
  for (const double bad : {-0.1, 1.0, std::nan("")}) {
    EXPECT(has(error_of([&] { hold_out(data, bad, 3); }), {"usage", "0 <= share < 1"}));
  }
}

TEST_CASE("choosing a part of the images") {
  const std::vector<int> from = {2, 3, 5, 7, 11, 13, 17};
  const std::vector<int> four = choose(from, 4, 9);
  EXPECT(four.size() == 4);
  EXPECT(std::is_sorted(four.begin(), four.end()));
  EXPECT(std::includes(from.begin(), from.end(), four.begin(), four.end()));
  EXPECT(choose(from, 4, 9) == four);
  EXPECT(choose(from, 99, 9) == from);
  EXPECT(choose(from, 0, 9).empty());
}

TEST_CASE("shuffle: a permutation, and every position is as likely") {
  std::vector<int> seen(5 * 5, 0);
  for (uint64_t key = 0; key < 5000; ++key) {
    std::vector<int> values = first_indices(5);
    shuffle(values, Random(key, Stream::test));
    for (size_t i = 0; i < 5; ++i) ++seen[i * 5 + static_cast<size_t>(values[i])];
    std::sort(values.begin(), values.end());
    REQUIRE(values == first_indices(5));
  }
  // 1000 expected, deviation sqrt(5000 * 0.2 * 0.8) = 28; five of them.
  for (const int n : seen) EXPECT(std::abs(n - 1000) < 141);
}

TEST_CASE("loader: an epoch is every index once, shuffled anew, the last batch smaller") {
  const Dataset data = noise_dataset(40, {3, 5, 3}, 4);
  const std::vector<int> indices = choose(first_indices(40), 23, 1);
  const Normalization n = compute_normalization(data, indices);
  Loader loader(data, indices, n,
                {.batch_size = 5, .seed = 6, .drop_last = false, .augmentation = {2, true, 2}});
  EXPECT(loader.batches() == 5);
  EXPECT(loader.left_out() == 0);
  const Epoch epoch = read_epoch(loader, 3, 0, 45);
  EXPECT(epoch.sizes == std::vector<int>{5, 5, 5, 5, 3});  // 23 = 4 * 5 + 3
  std::vector<int> sorted = epoch.indices;
  std::sort(sorted.begin(), sorted.end());
  EXPECT(sorted == indices);
  EXPECT(epoch.indices != indices);
  const PixelTable table = pixel_table(n);
  for (size_t i = 0; i < 23; ++i) {
    EXPECT(epoch.labels[i] == data.labels[static_cast<size_t>(epoch.indices[i])]);
    const auto expected = write(data, {6, 3, epoch.indices[i]}, table, {2, true, 2});
    EXPECT(std::equal(expected.begin(), expected.end(), epoch.images.begin() + static_cast<int>(45 * i)));
  }
  EXPECT(read_epoch(loader, 4).indices != epoch.indices);

  SUBCASE("the same again, from another loader and in another order of epochs") {
    Loader other(data, indices, n,
                 {.batch_size = 5, .seed = 6, .drop_last = false, .augmentation = {2, true, 2}});
    EXPECT(read_epoch(other, 3, 0, 45).images == epoch.images);
    EXPECT(read_epoch(loader, 3, 0, 45).images == epoch.images);
  }
  SUBCASE("a resumed epoch is the tail of the whole one") {
    const Epoch tail = read_epoch(loader, 3, 2, 45);
    EXPECT(tail.sizes == std::vector<int>{5, 5, 3});
    EXPECT(std::equal(tail.indices.begin(), tail.indices.end(), epoch.indices.begin() + 10,
                      epoch.indices.end()));
    EXPECT(std::equal(tail.images.begin(), tail.images.end(), epoch.images.begin() + 10 * 45,
                      epoch.images.end()));
    EXPECT(read_epoch(loader, 3, 5).sizes.empty());
  }
  SUBCASE("drop_last") {
    Loader dropping(data, indices, n, {.batch_size = 5, .seed = 6});
    EXPECT(dropping.batches() == 4);
    EXPECT(dropping.left_out() == 3);
    const Epoch dropped = read_epoch(dropping, 3);
    EXPECT(std::equal(dropped.indices.begin(), dropped.indices.end(), epoch.indices.begin(),
                      epoch.indices.begin() + 20));
  }
  SUBCASE("no shuffle") {
    Loader plain(data, indices, n, {.batch_size = 7, .shuffle = false, .drop_last = false});
    EXPECT(read_epoch(plain, 0).indices == indices);
  }
  SUBCASE("batches that cannot be") {
    EXPECT(has(error_of([&] { Loader(data, indices, n, {.batch_size = 24}); }),
               {"usage", "23 images", "batch of 24"}));
    EXPECT(has(error_of([&] { Loader(data, indices, n, {.batch_size = 0}); }), {"usage", "--batch-size 0"}));
    EXPECT(has(error_of([&] { Loader(data, {}, n, {.drop_last = false}); }), {"usage", "0 images"}));
  }
}

TEST_CASE("loader: a batch stays as it is until the next call, while others are made") {
  std::atomic<int> written = 0;
  const auto source = [&](int index, int64_t, real* out) {
    *out = static_cast<real>(index);
    ++written;
    return index;
  };
  Loader loader(source, 1, first_indices(12), {.batch_size = 2, .shuffle = false});
  loader.start(0);
  const auto first = loader.next();
  REQUIRE(first.has_value());
  // One batch is held, two more fit: 3 * 2 samples, and not one more.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (written < 6 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT(written == 6);
  EXPECT(first->images[0] == 0);
  EXPECT(first->images[1] == 1);
  EXPECT(first->labels[1] == 1);
  for (int b = 1; b < 6; ++b) EXPECT(loader.next()->images[0] == static_cast<real>(2 * b));
  EXPECT(!loader.next().has_value());
  EXPECT(!loader.next().has_value());
}

TEST_CASE("loader: an exception arrives in next(), after the batches before it") {
  const auto source = [](int index, int64_t epoch, real*) {
    if (index == 5 && epoch == 0) fail("image {} is gone", index);
    return index;
  };
  Loader loader(source, 1, first_indices(9), {.batch_size = 2, .shuffle = false});
  loader.start(0);
  EXPECT(loader.next()->labels[0] == 0);
  EXPECT(loader.next()->labels[0] == 2);
  EXPECT(error_of([&] { loader.next(); }) == "image 5 is gone");
  EXPECT(error_of([&] { loader.next(); }) == "image 5 is gone");
  EXPECT(read_epoch(loader, 1).labels == first_indices(8));
}

TEST_CASE("loader: waiting is measured; stopping does not wait for the epoch") {
  const auto source = [](int index, int64_t, real*) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return index;
  };
  const auto begin = std::chrono::steady_clock::now();
  {
    Loader loader(source, 1, first_indices(100000), {.batch_size = 1000});
    loader.start(0);
    loader.start(1);
  }
  {
    Loader loader(source, 1, first_indices(4), {.batch_size = 2});
    EXPECT(loader.wait_seconds() == 0);
    loader.start(0);
    while (loader.next()) {
    }
    // Four samples of 10 ms each, with nothing to do meanwhile.
    EXPECT(loader.wait_seconds() > 0.03);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  EXPECT(seconds.count() < 5);  // whole epochs would take 1000 s
}
