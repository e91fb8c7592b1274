// One training step on a modelled machine: a network, a configuration, and what they run on. Shared by
// `mbs simulate` and `mbs paper`.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "apps/report/table.h"
#include "apps/resolve/configuration.h"
#include "engine/network.h"
#include "mbs/planner.h"
#include "wavecore/simulator.h"

namespace mbs {

/// What a configuration runs on, and how it is counted.
struct Scenario {
  Machine machine;  ///< with the buffer and the memory that are asked for
  TrafficRules rules;
  Grouping grouping = Grouping::greedy;
  Recompute recompute = Recompute::joins;  ///< MBS-R: the most that is made again
  Overlap overlap = Overlap::layer;
  int batch_per_core = 32;
};

/// What a step of a core moves at least.
struct TrafficBounds {
  /// Everything once: the input in both directions, what is kept for backward out and back, weights in both
  /// directions, gradients of weights out. No order that keeps the same for backward moves less without
  /// leaving it on chip from the forward to the backward pass.
  int64_t compulsory_bytes = 0;
  /// The same less what a buffer can carry over that turn, which is credited once for features and once for
  /// weights: no order moves less, but not every buffer comes near.
  int64_t lower_bound_bytes = 0;
};

/// A training step of a chip.
struct SimulatedStep {
  Configuration configuration;
  Scenario scenario;
  Plan plan;             ///< of a core
  TrafficBounds bounds;  ///< of a core
  StepWork work;         ///< of a core
  StepCost cost;         ///< of the chip
};

/// The networks that the paper names, deep ones first, AlexNet last.
std::vector<std::string> paper_networks();
/// Those without AlexNet, over which we average.
std::vector<std::string> deep_networks();
/// Images per core where nothing is said: 32, and 64 for AlexNet, whose features are small (our choice).
int default_batch(const std::string& network);

/// A network of the zoo in the size it was published for, counted as the rules say. Error (usage): an unknown
/// network; lists all.
Network published_network(const std::string& name, const TrafficRules& rules);

/// The plan of a core's step. A block that does not fit the buffer with one sample spills: it runs layer by
/// layer. Error: as make_plan().
Plan plan_step(const Network& network, const Configuration& configuration, const Scenario& scenario);

/// Bounds for orders that keep as much for backward as this one: less where it makes values again (MBS-R).
TrafficBounds traffic_bounds(const Network& network, const Configuration& configuration,
                             const Scenario& scenario);

/// Plans the step and walks it without arithmetic. Error: as make_plan().
SimulatedStep simulate(const Network& network, const Configuration& configuration, const Scenario& scenario);

/// The same work with another memory, or under another overlap rule.
SimulatedStep with_memory(SimulatedStep step, const Memory& memory);
SimulatedStep with_overlap(SimulatedStep step, Overlap overlap);

/// Bytes that a chip sends (and receives) per step when `chips` chips sum their weight gradients in a ring:
/// 2 (chips - 1) / chips of the gradients.
int64_t gradient_exchange_bytes(const Network& network, const TrafficRules& rules, int chips);

/// DRAM bytes of one update of all parameters with SGD and momentum in 32 bits: weights, momentum and
/// gradients are read, weights and momentum written. The same in every configuration, and in no other figure.
int64_t optimizer_bytes(const Network& network);

/// Names of the blocks that do not fit the buffer with one sample, and run layer by layer.
std::vector<std::string> spilled_names(const Network& network, const Plan& plan);

/// Joules by part.
nlohmann::ordered_json energy_to_json(const Energy& energy);

/// The row of a step with all its figures. Bytes, seconds and joules are of the chip and one step;
/// array_cycles are of one of its cores, which work side by side. `baseline` may be null.
nlohmann::ordered_json step_to_json(const Network& network, const SimulatedStep& step,
                                    const SimulatedStep* baseline);

/// Every layer in each direction: work, time, and which part of the machine sets the pace.
DataTable layer_table(const Network& network, const SimulatedStep& step);
/// The matrix products of every layer against the two roofs of a core: multiply-accumulates per DRAM byte,
/// what the array and the memory allow at that ratio, and what is achieved.
DataTable roofline_table(const Network& network, const SimulatedStep& step);

}  // namespace mbs
