// The tables and figures of the MBS paper, from our model. Nothing in them is the paper's but what its
// abstract reports, which is marked.
#pragma once

#include <vector>

#include "apps/model/modelled_step.h"
#include "apps/report/table.h"

namespace mbs {

/// What the abstract of Lym et al., MLSys 2019, reports for MBS2 on modern deep networks against Baseline:
/// shares of DRAM traffic and energy saved, and of performance gained.
inline constexpr double kReportedTraffic = 0.75, kReportedPerformance = 0.53, kReportedEnergy = 0.26;

/// The networks of the paper, every configuration of each simulated once.
struct PaperModel {
  Scenario scenario;  ///< of the deep networks; AlexNet has another batch
  std::vector<Network> networks;
  std::vector<std::vector<SimulatedStep>> steps;  ///< [network][all_configurations()]
};
PaperModel make_paper_model(const Scenario& scenario);

/// What one step gains over another.
struct Gains {
  double traffic = 0;      ///< share of the DRAM bytes that do not move
  double performance = 0;  ///< the other's time over this one's, less 1
  double time = 0;         ///< share of the time saved
  double energy = 0;       ///< share of the energy saved
};
Gains gains(const StepCost& baseline, const StepCost& improved);
/// MBS2 over Baseline: the mean over the deep networks, on a machine of which only the array and the buffers
/// must be the model's.
Gains mean_gains(const PaperModel& model, const Machine& machine, Overlap overlap);

// The results (apps/model/paper_tables.cpp).

DataTable results_table(const PaperModel& model);
DataTable headline_table(const PaperModel& model);
DataTable rules_table(const PaperModel& model);
DataTable assumptions_table(const PaperModel& model);
DataTable utilization_table(const PaperModel& model);
DataTable memory_table(const PaperModel& model);
DataTable ours_table(const PaperModel& model);

// What depends on the plan alone (apps/model/paper_plans.cpp).

DataTable buffer_table(const PaperModel& model);
DataTable batch_table(const PaperModel& model);
DataTable smallest_buffer_table(const PaperModel& model);
DataTable grouping_table(const PaperModel& model);
DataTable groups_table(const PaperModel& model);
DataTable space_table(const PaperModel& model);
DataTable exchange_table(const PaperModel& model);

}  // namespace mbs
