// Holding images out of the training part. Keyed by the seed alone, so that every order, and a resumed run,
// splits alike.
#pragma once

#include <span>
#include <vector>

#include "datasets/dataset.h"
#include "engine/random.h"

namespace mbs {

/// Sorted indices into the training part; together all of it.
struct HeldOut {
  std::vector<int> train, validation;
};

/// Holds out `share` (in [0, 1)) of every class, rounded to the nearest count, at least one image of a class
/// staying for training: stratified, so a class of few images is in both parts. 0: everything trains. Which
/// images: a shuffle of the class by Random(seed, Stream::split, class). Usage error: share out of range.
HeldOut hold_out(const Dataset& train, double share, uint64_t seed);

/// `count` of the indices (all, if there are fewer), chosen at random by the seed, sorted. For runs on a part
/// of the data: the first images of an image folder would all be of one class.
std::vector<int> choose(std::span<const int> indices, int count, uint64_t seed);

/// Fisher-Yates shuffle by values 0, 1, ... of `random`.
void shuffle(std::span<int> values, const Random& random);

}  // namespace mbs
