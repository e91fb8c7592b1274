#include "datasets/split.h"

#include <algorithm>
#include <cmath>

#include "engine/check.h"

namespace mbs {

void shuffle(std::span<int> values, const Random& random) {
  for (size_t i = values.size(); i > 1; --i) {
    const uint64_t draw = values.size() - i;
    std::swap(values[i - 1], values[static_cast<size_t>(random.below(draw, i))]);
  }
}

HeldOut hold_out(const Dataset& train, double share, uint64_t seed) {
  if (!(share >= 0 && share < 1))
    fail_usage("the share held out for validation is {}, expected 0 <= share < 1", share);
  std::vector<std::vector<int>> by_class(train.class_names.size());
  for (int i = 0; i < train.count(); ++i) {
    by_class[static_cast<size_t>(train.labels[static_cast<size_t>(i)])].push_back(i);
  }
  HeldOut result;
  for (size_t c = 0; c < by_class.size(); ++c) {
    std::vector<int>& members = by_class[c];
    if (members.empty()) continue;
    shuffle(members, Random(seed, Stream::split, c));
    const int64_t wanted = std::llround(share * static_cast<double>(members.size()));
    const auto cut = members.begin() + std::min(wanted, static_cast<int64_t>(members.size()) - 1);
    result.validation.insert(result.validation.end(), members.begin(), cut);
    result.train.insert(result.train.end(), cut, members.end());
  }
  std::sort(result.validation.begin(), result.validation.end());
  std::sort(result.train.begin(), result.train.end());
  return result;
}

std::vector<int> choose(std::span<const int> indices, int count, uint64_t seed) {
  std::vector<int> chosen(indices.begin(), indices.end());
  // The class numbers key the split; this key is none of them.
  shuffle(chosen, Random(seed, Stream::split, 0, 1));
  chosen.resize(std::min(chosen.size(), static_cast<size_t>(std::max(count, 0))));
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace mbs
