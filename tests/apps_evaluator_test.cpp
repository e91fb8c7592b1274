// Evaluation of images together with their mirror images, against its definition.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "apps/training/evaluator.h"
#include "datasets/pixel_normalization.h"
#include "engine/optimizer.h"
#include "layers/zoo/zoo.h"
#include "tests/doctest.h"
#include "tests/noise_dataset.h"

namespace mbs {
namespace {

Dataset mirrored(const Dataset& data) {
  Dataset result = data;
  const Shape& s = data.shape;
  for (int row = 0; row < data.count() * s.h; ++row)
    for (int x = 0; x < s.w; ++x)
      for (int c = 0; c < s.c; ++c)
        result.pixels[static_cast<size_t>((row * s.w + x) * s.c + c)] =
            data.pixels[static_cast<size_t>((row * s.w + s.w - 1 - x) * s.c + c)];
  return result;
}

}  // namespace

TEST_CASE("evaluation: mirrored averages the probabilities of an image and of its mirror image") {
  const Dataset data =
      noise_dataset(150, {16, 16, 3}, 4);  // more than a batch, and a last one that is not full
  NetworkOptions options;
  options.arch = "small_cnn";
  options.input = data.shape;
  options.classes = data.classes();
  const Network network = make_network(options);
  std::vector<real> params = initial_params(network, 3), states = initial_states(network);
  for (real& p : params) p *= 2;  // probabilities that are further apart
  const TrainSpans<const real> state{params, states, {}};
  std::vector<int> all(static_cast<size_t>(data.count()));
  std::iota(all.begin(), all.end(), 0);
  const Normalization normalization = compute_normalization(data, all);
  Evaluator evaluator(network, 2);

  const auto probabilities = [&](const Dataset& images, int index) {
    std::vector<real> image(static_cast<size_t>(data.shape.elems()));
    normalize(images.image(index), pixel_table(normalization), image.data());
    return evaluator.probabilities(image, 1, state);
  };
  const Dataset turned = mirrored(data);
  double loss = 0;
  int correct = 0;
  for (const int i : all) {
    const std::vector<real> a = probabilities(data, i), b = probabilities(turned, i);
    std::vector<double> mean(a.size());
    for (size_t c = 0; c < a.size(); ++c)
      mean[c] = (static_cast<double>(a[c]) + static_cast<double>(b[c])) / 2;
    const int label = data.labels[static_cast<size_t>(i)];
    loss -= std::log(mean[static_cast<size_t>(label)]) / data.count();
    correct += std::max_element(mean.begin(), mean.end()) - mean.begin() == label;
  }

  const Evaluation plain = evaluator.evaluate(data, all, normalization, state);
  const Evaluation both = evaluator.evaluate(data, all, normalization, state, true);
  const Evaluation other = evaluator.evaluate(turned, all, normalization, state, true);
  EXPECT(both.samples == data.count());
  EXPECT(std::abs(both.loss - loss) < 1e-5);
  EXPECT(std::abs(both.accuracy * data.count() - correct) < 1e-6);
  EXPECT(std::abs(both.loss - plain.loss) > 1e-4);  // the network is not symmetric
  EXPECT(both.loss == other.loss);
  EXPECT(both.accuracy == other.accuracy);
}

}  // namespace mbs
