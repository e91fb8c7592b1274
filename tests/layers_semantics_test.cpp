// What layers compute, against numbers worked out by hand; and what they refuse.

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/check.h"
#include "tests/doctest.h"
#include "tests/layer_harness.h"

namespace mbs::testing {
namespace {

constexpr double kClose = 1e-6;

// Inputs of one sample with x[0] = `x` and dy = `dy` (ones where empty).
Inputs inputs(const Layer& layer, std::vector<real> x, std::vector<real> dy = {}) {
  Inputs in = make_inputs(layer, 1, 1);
  REQUIRE(x.size() == in.x[0].size());
  in.x[0] = std::move(x);
  if (dy.empty()) dy.assign(in.dy.size(), 1);
  REQUIRE(dy.size() == in.dy.size());
  in.dy = std::move(dy);
  return in;
}

Run run_one(const std::string& text, const std::vector<real>& x, const std::vector<real>& dy = {}) {
  const Subject subject = make_subject(text);
  return run_layer(*subject.layer, inputs(*subject.layer, x, dy), {});
}

double largest_difference(const std::vector<real>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - b[i]);
    worst = d > worst || std::isnan(d) ? d : worst;
  }
  return worst;
}

// The message of the usage Error that making a layer ends in; empty: it was made.
std::string refusal(const std::string& text) {
  try {
    make_subject(text);
  } catch (const Error& error) {
    EXPECT(error.kind() == ErrorKind::usage);
    return error.what();
  }
  return "";
}

bool refuses(const std::string& text, const std::vector<std::string>& words) {
  const std::string message = refusal(text);
  CAPTURE(message);
  return !message.empty() && std::all_of(words.begin(), words.end(), [&](const std::string& w) {
    return message.find(w) != std::string::npos;
  });
}

using Values = std::vector<real>;
using Doubles = std::vector<double>;

}  // namespace

TEST_CASE("relu: zero and below give 0 and no gradient, NaN stays, nine elements fill two mask bytes") {
  const real nan = std::numeric_limits<real>::quiet_NaN();
  const Run run = run_one("relu | 1x1x9", {-1, 0, 2, -0.0, 3, -4, 5, -6, 7}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  EXPECT(largest_difference(run.y, {0, 0, 2, 0, 3, 0, 5, 0, 7}) == 0);
  EXPECT(largest_difference(run.dx[0], {0, 0, 3, 0, 5, 0, 7, 0, 9}) == 0);
  REQUIRE(run.aux.size() == 2);
  EXPECT(run.aux[0] == std::byte{0b01010100});
  EXPECT(run.aux[1] == std::byte{0b00000001});
  EXPECT(std::isnan(run_one("relu | 1x1x2", {nan, 1}).y[0]));
  EXPECT(std::isnan(run_one("relu | 1x1x16", Values(16, nan)).y[3]));
}

TEST_CASE("max_pool: the first of equals wins, padding never does, NaN does") {
  // Window 2x2 at stride 1 over {{5, 5, 1}, {5, 0, 1}}.
  const Run ties = run_one("max_pool kernel=2 stride=1 | 2x3x1", {5, 5, 1, 5, 0, 1}, {10, 100});
  EXPECT(largest_difference(ties.y, {5, 5}) == 0);
  EXPECT(ties.aux[0] == std::byte{0});
  EXPECT(largest_difference(ties.dx[0], {10, 100, 0, 0, 0, 0}) == 0);
  // All values are below the zero of padding.
  const Run negative = run_one("max_pool kernel=3 stride=2 pad=1 | 2x2x1", {-4, -3, -2, -5});
  EXPECT(largest_difference(negative.y, {-2}) == 0);
  EXPECT(negative.aux[0] == std::byte{7});  // row 2, column 1 of the window
  const real nan = std::numeric_limits<real>::quiet_NaN();
  EXPECT(std::isnan(run_one("max_pool kernel=2 | 2x2x1", {1, nan, 3, 2}).y[0]));
  EXPECT(std::isnan(run_one("max_pool kernel=2 | 2x2x1", {nan, 1, 3, 2}).y[0]));
}

TEST_CASE("avg_pool: padding counts, and windows that overlap add up") {
  // A 3x3 window padded by one over {{1, 2}, {3, 4}} at stride 2: one window with all four values and five
  // zeros.
  const Run padded = run_one("avg_pool kernel=3 stride=2 pad=1 | 2x2x1", {1, 2, 3, 4});
  EXPECT(largest_difference(padded.y, {10.0 / 9}) < kClose);
  EXPECT(largest_difference(padded.dx[0], Doubles(4, 1.0 / 9)) < kClose);
  // A 1x2 window at stride 1: the middle pixel is in both windows.
  const Run overlap = run_one("avg_pool kernel=1x2 stride=1 | 1x3x1", {1, 2, 5}, {1, 10});
  EXPECT(largest_difference(overlap.y, {1.5, 3.5}) < kClose);
  EXPECT(largest_difference(overlap.dx[0], {0.5, 5.5, 5}) < kClose);
}

TEST_CASE("avg_pool: padding does not count with count_pad=0") {
  // A 3x3 window over {{1, 2, 4}} sees two pixels at the borders, three in the middle, and two rows of
  // padding.
  const Run run = run_one("avg_pool kernel=3 stride=1 pad=1 count_pad=0 | 1x3x1", {1, 2, 4}, {2, 3, 8});
  EXPECT(largest_difference(run.y, {3.0 / 2, 7.0 / 3, 6.0 / 2}) < kClose);
  EXPECT(largest_difference(run.dx[0], {2.0 / 2 + 3.0 / 3, 2.0 / 2 + 3.0 / 3 + 8.0 / 2, 3.0 / 3 + 8.0 / 2}) <
         kClose);
}

TEST_CASE("global_avg_pool: the mean of each channel") {
  const Run run = run_one("global_avg_pool | 1x3x2", {1, 10, 2, 20, 6, 60}, {3, 6});
  EXPECT(largest_difference(run.y, {3, 30}) < kClose);
  EXPECT(largest_difference(run.dx[0], {1, 2, 1, 2, 1, 2}) < kClose);
}

TEST_CASE("pad_shortcut: every second pixel, channels in the middle, the odd zero channel behind") {
  const Run run =
      run_one("pad_shortcut out=5 | 3x3x2", {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17});
  // 3x3 pixels become 2x2: pixels (0,0) (0,2) (2,0) (2,2), which start at elements 0, 4, 12 and 16.
  EXPECT(largest_difference(run.y, {0, 0, 1, 0, 0, 0, 4, 5, 0, 0, 0, 12, 13, 0, 0, 0, 16, 17, 0, 0}) == 0);
  EXPECT(largest_difference(run.dx[0], {1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1}) == 0);
}

TEST_CASE("add and concat: values and gradients of each input") {
  const Subject add = make_subject("add | 1x1x2 1x1x2 1x1x2"), concat = make_subject("concat | 1x2x1 1x2x2");
  Inputs in = inputs(*add.layer, {1, 2}, {7, 8});
  in.x[1] = {10, 20};
  in.x[2] = {100, 200};
  const Run sum = run_layer(*add.layer, in, {});
  EXPECT(largest_difference(sum.y, {111, 222}) == 0);
  for (int i = 0; i < 3; ++i) EXPECT(largest_difference(sum.dx[static_cast<size_t>(i)], {7, 8}) == 0);

  in = inputs(*concat.layer, {1, 2}, {1, 2, 3, 4, 5, 6});
  in.x[1] = {10, 11, 20, 21};
  const Run joined = run_layer(*concat.layer, in, {});
  EXPECT(largest_difference(joined.y, {1, 10, 11, 2, 20, 21}) == 0);
  EXPECT(largest_difference(joined.dx[0], {1, 4}) == 0);
  EXPECT(largest_difference(joined.dx[1], {2, 3, 5, 6}) == 0);
}

TEST_CASE(
    "dropout: keeps its share, scales what it keeps, is keyed by sample, and is the identity in inference") {
  const Subject subject = make_subject("dropout rate=0.25 | 1x1x9973");
  const Layer& layer = *subject.layer;
  Inputs in = make_inputs(layer, 2, 1);
  for (auto& x : in.x) std::fill(x.begin(), x.end(), real(3));
  std::fill(in.dy.begin(), in.dy.end(), real(1));
  const Run run = run_layer(layer, in, {});
  const double n = 2 * 9973;
  double kept = 0;
  for (size_t i = 0; i < run.y.size(); ++i) {
    const bool keep = run.y[i] != 0;
    kept += keep;
    // 3 / (1 - 0.25) = 4, and the same elements in backward.
    EXPECT_MESSAGE(std::abs(static_cast<double>(run.y[i]) - (keep ? 4 : 0)) < kClose, "element ", i);
    EXPECT_MESSAGE(std::abs(static_cast<double>(run.dx[0][i]) - (keep ? 4.0 / 3 : 0)) < kClose, "element ",
                   i);
  }
  // Five standard deviations of a binomial count.
  EXPECT(std::abs(kept - 0.75 * n) < 5 * std::sqrt(n * 0.75 * 0.25));
  const auto middle = run.y.begin() + 9973;
  EXPECT(!std::equal(run.y.begin(), middle, middle));  // the samples differ

  Inputs second = in;  // the second sample alone drops what it dropped beside the first
  second.samples = 1;
  second.first_sample += 1;
  second.x[0].resize(9973);
  second.dy.resize(9973);
  EXPECT(same_bits(run_layer(layer, second, {}).y, Values(middle, run.y.end())));
  EXPECT(same_bits(run_layer(layer, in, {.training = false, .backward = false}).y, in.x[0]));
}

TEST_CASE("softmax_loss: by hand, with smoothing, unknown labels and large logits") {
  // exp(log k) = k: probabilities 1/6, 2/6, 3/6.
  const Values logits = {0, static_cast<real>(std::log(2)), static_cast<real>(std::log(3))};
  const Subject plain = make_subject("softmax_loss | 1x1x3"),
                smooth = make_subject("softmax_loss smoothing=0.3 | 1x1x3");
  Inputs in = make_inputs(*plain.layer, 1, 1);
  in.x[0] = logits;
  in.labels = {1};
  Run run = run_layer(*plain.layer, in, {});
  EXPECT(largest_difference(run.y, {std::log(3), 1.0 / 6, 2.0 / 6, 3.0 / 6}) < kClose);
  EXPECT(largest_difference(run.dx[0], {1.0 / 6, 2.0 / 6 - 1, 3.0 / 6}) < kClose);
  // Targets 0.1, 0.8, 0.1.
  run = run_layer(*smooth.layer, in, {});
  EXPECT(std::abs(static_cast<double>(run.y[0]) -
                  (0.1 * std::log(6) + 0.8 * std::log(3) + 0.1 * std::log(2))) < kClose);
  EXPECT(largest_difference(run.dx[0], {1.0 / 6 - 0.1, 2.0 / 6 - 0.8, 3.0 / 6 - 0.1}) < kClose);

  in.labels = {-1};
  run = run_layer(*smooth.layer, in, {});
  EXPECT(largest_difference(run.y, {0, 1.0 / 6, 2.0 / 6, 3.0 / 6}) < kClose);
  EXPECT(largest_difference(run.dx[0], {0, 0, 0}) == 0);

  in.x[0] = {1000, -1000, 0};  // exp(1000) is no number, and log(exp(-2000)) is not either
  in.labels = {1};
  run = run_layer(*plain.layer, in, {});
  EXPECT(largest_difference(run.y, {2000, 1, 0, 0}) < kClose);
}

TEST_CASE("softmax_loss: the gradient is divided by the mini-batch, the loss is not") {
  const Subject subject = make_subject("softmax_loss | 1x1x3");
  const Inputs in = make_inputs(*subject.layer, 4, 1);
  const Run run = run_layer(*subject.layer, in, {});
  for (size_t s = 0; s < 4; ++s)
    for (size_t c = 0; c < 3; ++c) {
      const double p = static_cast<double>(run.y[4 * s + 1 + c]),
                   target = in.labels[s] == static_cast<int>(c);
      EXPECT(std::abs(static_cast<double>(run.dx[0][3 * s + c]) - (p - target) / 4) < kClose);
      if (target == 1) EXPECT(std::abs(static_cast<double>(run.y[4 * s]) + std::log(p)) < kClose);
    }
}

TEST_CASE("layers: declared facts") {
  const auto layer = [](const std::string& text) { return make_subject(text).layer; };
  EXPECT(layer("add | 1x1x2 1x1x2")->passes_gradient());
  EXPECT(layer("concat | 1x1x2 1x1x2")->concatenates());
  EXPECT(layer("softmax_loss | 1x1x2")->is_loss());
  EXPECT(layer("batch_norm | 1x1x2")->couples_samples());
  EXPECT(!layer("group_norm groups=1 | 1x1x2")->couples_samples());
  EXPECT(layer("relu | 3x5x7")->needs(true).aux_bytes_per_sample ==
         (3 * 5 * 7 + 7) / 8);  // a bit each, whole bytes
  EXPECT(layer("max_pool kernel=2 | 4x6x3")->needs(true).aux_bytes_per_sample ==
         2 * 3 * 3);  // a byte per output
  EXPECT(layer("pad_shortcut out=8 stride=3 | 7x8x5")->out_shape() ==
         Shape{3, 3, 8});  // ceil(7 / 3), ceil(8 / 3)
  EXPECT(layer("max_pool kernel=3 | 10x9x2")->out_shape() ==
         Shape{3, 3, 2});  // the stride is the kernel unless given
}

TEST_CASE("layers: what does not fit is refused, naming the specification and the shapes") {
  EXPECT(refuses("group_norm groups=5 | 4x4x12", {"groups=5", "4x4x12", "1, 2, 3, 4, 6, 12"}));
  EXPECT(refuses("group_norm channels=8 | 4x4x12", {"channels=8", "4x4x12"}));
  EXPECT(refuses("group_norm groups=2 channels=6 | 4x4x12", {"either"}));
  EXPECT(refuses("group_norm | 4x4x12", {"either"}));
  EXPECT(refuses("group_norm groups=0 | 4x4x12", {"groups=0"}));
  EXPECT(refuses("relu slope=1 | 4x4x12", {"slope"}));
  EXPECT(refuses("relu | 4x4x12 4x4x12", {"relu", "1 input", "4x4x12 4x4x12"}));
  EXPECT(refuses("add | 4x4x12", {"two or more"}));
  EXPECT(refuses("add | 4x4x12 4x4x13", {"4x4x12 4x4x13"}));
  EXPECT(refuses("concat | 4x4x12 4x5x12", {"4x4x12 4x5x12"}));
  EXPECT(refuses("max_pool | 4x4x12", {"kernel"}));
  EXPECT(refuses("max_pool kernel=5 | 4x4x12", {"kernel 5x5", "4x4x12"}));
  EXPECT(refuses("max_pool kernel=2 pad=2 | 4x4x12", {"pad=2x2"}));
  EXPECT(refuses("max_pool kernel=17 | 20x20x1", {"17x17"}));
  EXPECT(refuses("avg_pool kernel=3 stride=0 | 4x4x12", {"stride=0"}));
  EXPECT(refuses("dropout rate=1 | 4x4x12", {"rate=1"}));
  EXPECT(refuses("group_norm groups=4 eps=0 | 4x4x12", {"eps=0"}));
  EXPECT(refuses("pad_shortcut out=4 | 4x4x12", {"out=4", "4x4x12"}));
  EXPECT(refuses("softmax_loss | 2x1x10", {"2x1x10"}));
  EXPECT(refuses("softmax_loss smoothing=2 | 1x1x10", {"smoothing=2"}));
  EXPECT(refuses("swish | 4x4x12", {"swish", "relu"}));
}

}  // namespace mbs::testing
