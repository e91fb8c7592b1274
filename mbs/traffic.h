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

  bool operator==(const TrafficRules&) const = default;
};

/// The presets: paper (in place, 16-bit partial sums), conservative (out of place, 32 bit), and fused (the
/// same as conservative, for networks whose norm + ReLU are one layer). Error (usage): another name; lists
/// them.
TrafficRules traffic_rules(const std::string& name);
/// Names of the presets.
std::vector<std::string> traffic_rules_names();

/// DRAM bytes of one step of `schedule` (which must be valid), by class. A schedule without backward passes
/// is inference: nothing is stored.
Traffic predicted_traffic(const Network&, const Schedule&, const TrafficRules&);

}  // namespace mbs
