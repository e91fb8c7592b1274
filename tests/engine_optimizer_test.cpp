#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/optimizer.h"
#include "engine/random.h"
#include "tests/doctest.h"

using namespace mbs;

// The closed form: weights of step k count (1 - d_k) times the decays of all steps after it.
TEST_CASE("a moving average is the weighted sum that its decays make of all weights so far") {
  constexpr int kSteps = 40;
  constexpr double kDecay = 0.8;
  const size_t elems = 1000;
  const Random random(5, Stream::test);
  const auto weight = [&](int step, size_t i) {
    return static_cast<real>(random.uniform(static_cast<uint64_t>(step) * elems + i));
  };
  std::vector<real> average(elems), params(elems);
  for (size_t i = 0; i < elems; ++i) average[i] = weight(0, i);
  for (int step = 0; step < kSteps; ++step) {
    for (size_t i = 0; i < elems; ++i) params[i] = weight(step + 1, i);
    move_average(average, params, average_decay(kDecay, step), 1 + step % 3);
  }
  std::vector<double> counts(kSteps + 1, 1.0);  // of the first weights and of those after each step
  for (int step = 0; step < kSteps; ++step) {
    const double decay = std::min(kDecay, (1.0 + step) / (10.0 + step));
    for (int k = 0; k <= step; ++k) counts[static_cast<size_t>(k)] *= decay;
    counts[static_cast<size_t>(step + 1)] *= 1 - decay;
  }
  EXPECT(counts[0] < 1e-3);  // what the weights began with is forgotten
  for (size_t i = 0; i < elems; ++i) {
    double expected = 0;
    for (int k = 0; k <= kSteps; ++k)
      expected += counts[static_cast<size_t>(k)] * static_cast<double>(weight(k, i));
    EXPECT(std::abs(static_cast<double>(average[i]) - expected) < 1e-5);
  }
}
