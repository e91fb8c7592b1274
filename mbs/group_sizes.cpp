#include "mbs/group_sizes.h"

#include <algorithm>

#include "mbs/footprint.h"
#include "mbs/group_costs.h"
#include "mbs/recompute_footprint.h"

namespace mbs {
namespace {

// More than any network needs; keeps sums far from the limits of int64_t.
constexpr int64_t kLargestBuffer = int64_t{1} << 48;

}  // namespace

Treatment natural_treatment(Order order) {
  switch (order) {
    case Order::baseline:
    case Order::il:
      return Treatment::layerwise;
    case Order::mbs_fs:
    case Order::mbs1:
      return Treatment::chain;
    default:
      return Treatment::group;
  }
}

std::vector<Treatment> joining_treatments(Recompute most) {
  static constexpr Treatment kAll[] = {Treatment::hold_expansions, Treatment::stream_expansions,
                                       Treatment::hold_joins, Treatment::stream_joins};
  return {std::begin(kAll) + (most == Recompute::expansions ? 0 : 2), std::end(kAll)};
}

std::vector<int64_t> block_footprints(const Network& network, const PlanOptions& options,
                                      Treatment treatment) {
  const Sharing sharing = treatment == Treatment::group ? Sharing::across_branches : Sharing::within_branch;
  std::vector<int64_t> bytes;
  for (const Block& block : network.blocks())
    bytes.push_back(
        footprint_bytes(network, block, options.rules.space, sharing, options.rules.feature_bits));
  return bytes;
}

GroupSizes::GroupSizes(const Network& network, const PlanOptions& options)
    : buffer_bytes_(options.buffer_bytes),
      batch_(options.batch),
      feature_bits_(options.rules.feature_bits),
      within_(block_footprints(network, options, Treatment::chain)),
      across_(block_footprints(network, options, Treatment::group)) {
  if (options.order != Order::mbs_r) return;
  std::vector<Treatment> recomputing = joining_treatments(options.recompute);
  recomputing.insert(recomputing.end(), kBranching.begin(), kBranching.end());
  for (const Treatment t : recomputing) {
    const Keeping keeping = keeping_of(t);
    again_[t] = recompute_footprints(network, options.rules.space, keeping.recompute, keeping.backward,
                                     std::min(options.buffer_bytes, kLargestBuffer) * 8 / feature_bits_);
  }
}

int64_t GroupSizes::footprint_bytes(Treatment t, int first, int last) const {
  const auto again = again_.find(t);
  if (again != again_.end())
    return (again->second[static_cast<size_t>(first)][static_cast<size_t>(last)] * feature_bits_ + 7) / 8;
  const auto begin = (t == Treatment::group ? across_ : within_).begin();
  return *std::max_element(begin + first, begin + last + 1);
}

bool GroupSizes::fits(Treatment t, int first, int last) const {
  return t == Treatment::layerwise || footprint_bytes(t, first, last) <= buffer_bytes_;
}

int GroupSizes::sub_batch(Treatment t, int64_t footprint_bytes) const {
  if (t == Treatment::layerwise) return batch_;
  const int64_t fits = buffer_bytes_ / std::max<int64_t>(footprint_bytes, 1);
  return static_cast<int>(std::clamp<int64_t>(fits, 1, batch_));
}

int GroupSizes::iterations(Treatment t, int first, int last) const {
  return (batch_ - 1) / sub_batch(t, footprint_bytes(t, first, last)) + 1;
}

}  // namespace mbs
