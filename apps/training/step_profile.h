// Where the time of training steps went, and the table of it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "apps/report/table.h"
#include "engine/network.h"

namespace mbs {

/// One part of a step. Figures are sums over the steps of a Profile.
struct ProfileRow {
  std::string part;    ///< a kind of layer ("conv2d", "group_norm+relu"), or what is done beside the layers
  std::string phase;   ///< "forward", "backward", "recompute"; "step" beside the layers
  int64_t calls = 0;   ///< kernel calls of all cores
  double seconds = 0;  ///< mean of the threads
  double flops = 0;    ///< of all cores: 2 per multiply-accumulate of the direct algorithm
  double bytes = 0;    ///< of all cores: every operand of every call once
};

/// Steps that were observed.
struct Profile {
  int64_t steps = 0;
  double seconds = 0;  ///< that the steps took, by a clock that knows nothing of the parts
  std::vector<ProfileRow> rows;

  /// Time that is in no row; never below 0 but for rounding, as rows are disjoint parts of the steps.
  double remainder_seconds() const;
  /// Adds the steps of another profile of the same experiment.
  Profile& operator+=(const Profile& other);
};

nlohmann::json to_json(const Profile& profile);
Profile profile_from_json(const nlohmann::json& json);

/// One row per part and one for the remainder, per step: together they are the whole step. `peak`: operations
/// per second of the threads that ran it.
DataTable profile_table(const std::string& order, const Profile& profile, double peak);
/// The same to be read, under its own title.
std::string profile_text(const DataTable& table);

/// Multiply-accumulates that the direct algorithm needs for the matrix products of one call. Data gradients
/// count as many as weight gradients: a GemmShape of a strided convolution also has the zeros between the
/// pixels, which no kernel needs to multiply.
int64_t nominal_macs(std::span<const GemmShape> gemms);

/// Nominal floating-point operations of a training step over `batch` samples, two per multiply-accumulate:
/// forward, data and weight gradients.
double step_flops(const Network& network, int batch);

}  // namespace mbs
