// How many samples of each group fit the buffer, in each treatment.
#pragma once

#include <array>
#include <map>
#include <vector>

#include "mbs/planner.h"

namespace mbs {

/// The treatments of MBS-R that make again what Recompute::branches says.
inline constexpr std::array kBranching = {Treatment::hold_branches, Treatment::stream_branches};
/// Those that make again sums too, and `most` at most.
std::vector<Treatment> joining_treatments(Recompute most);

/// How an order runs a group that fits.
Treatment natural_treatment(Order);

/// Bytes per sample of every block (not for the treatments that make values again).
std::vector<int64_t> block_footprints(const Network&, const PlanOptions&, Treatment);

/// Groups are [first, last] in Network::blocks(). Sizes of the treatments that make values again are there
/// for Order::mbs_r only.
class GroupSizes {
 public:
  GroupSizes(const Network&, const PlanOptions&);

  int64_t footprint_bytes(Treatment, int first, int last) const;
  /// Whether one sample fits; a layerwise group always does.
  bool fits(Treatment, int first, int last) const;
  /// Chunks of a pass, in sub-batches as large as they can be.
  int iterations(Treatment, int first, int last) const;
  /// The largest sub-batch of a group of this footprint: at least 1 and at most the batch.
  int sub_batch(Treatment, int64_t footprint_bytes) const;

 private:
  int64_t buffer_bytes_;
  int batch_, feature_bits_;
  std::vector<int64_t> within_, across_;  // of the blocks, without and with sharing of branches
  std::map<Treatment, std::vector<std::vector<int64_t>>> again_;  // of groups that recompute, in elements
};

}  // namespace mbs
