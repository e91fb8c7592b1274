// Predicted DRAM traffic of one training step of one core, in closed form: a sum over tensors and parameters,
// no walk over steps. wavecore/accountant.h counts the same from the events of a run; the two share no code
// and must agree to the byte. The rules are written down in docs/accounting.md.
#pragma once

#include <string>
#include <vector>

#include "engine/event.h"
#include "engine/network.h"
#include "engine/schedule.h"
#include "mbs/footprint.h"

namespace mbs {

/// The switches of the counting rules; always printed with the numbers they made.
struct TrafficRules {
  std::string name = "paper";
  Space space = Space::in_place;
  int feature_bits = 16;      ///< features, their gradients, and weights
  int partial_sum_bits = 16;  ///< weight gradients
  int pool_index_bits = 8;    ///< per output element of a max pooling
  int max_sweeps = 2;         ///< how often a layer that keeps nothing on chip may go over an operand at most
  bool fused =
      false;  ///< norm + ReLU, and add + ReLU, are one layer: the network is fused before it is planned

  bool operator==(const TrafficRules&) const = default;
};

/// A preset, and switches that differ from it: "conservative",
/// "paper,space=out-of-place,partial-sum-bits=32". Presets: paper (in place, 16-bit partial sums),
/// conservative (out of place, 32 bit), and fused (as conservative, norm + ReLU as one layer). Switches:
/// space=in-place|out-of-place, fusion=none|norm-relu, feature-bits=N, partial-sum-bits=N, pool-index-bits=N,
/// sweeps=1|2. Error (usage): another name or value; lists what there is.
TrafficRules traffic_rules(const std::string& text);
/// Names of the presets.
std::vector<std::string> traffic_rules_names();

/// The first pass that keeps or makes again what no order of ours does, so that its traffic cannot be
/// predicted: what makes values again must be a group of whole blocks in both directions. -1: none.
int first_unpredictable(const Network&, const Schedule&);

/// DRAM bytes of one step of `schedule` (which must be valid and predictable), by class. A schedule without
/// backward passes is inference: nothing is stored.
Traffic predicted_traffic(const Network&, const Schedule&, const TrafficRules&);

}  // namespace mbs
