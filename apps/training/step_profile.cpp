#include "apps/training/step_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/dataflow.h"

namespace mbs {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ProfileRow, part, phase, calls, seconds, flops, bytes)

double Profile::remainder_seconds() const {
  double rest = seconds;
  for (const ProfileRow& row : rows) rest -= row.seconds;
  return rest;
}

Profile& Profile::operator+=(const Profile& other) {
  steps += other.steps;
  seconds += other.seconds;
  for (const ProfileRow& more : other.rows) {
    const auto found = std::find_if(rows.begin(), rows.end(), [&](const ProfileRow& row) {
      return row.part == more.part && row.phase == more.phase;
    });
    if (found == rows.end()) {
      rows.push_back(more);
      continue;
    }
    found->calls += more.calls;
    found->seconds += more.seconds;
    found->flops += more.flops;
    found->bytes += more.bytes;
  }
  return *this;
}

nlohmann::json to_json(const Profile& profile) {
  return {{"steps", profile.steps}, {"seconds", profile.seconds}, {"rows", profile.rows}};
}

Profile profile_from_json(const nlohmann::json& json) {
  return {json["steps"].get<int64_t>(), json["seconds"].get<double>(),
          json["rows"].get<std::vector<ProfileRow>>()};
}

DataTable profile_table(const std::string& order, const Profile& profile, double peak) {
  const auto steps = static_cast<double>(std::max<int64_t>(profile.steps, 1));
  DataTable table{
      "profile",
      fmt::format("{}: where the {:.2f} ms of a step go, mean of {} steps", order,
                  profile.seconds / steps * 1e3, profile.steps),
      {"time: mean of the threads, so that all rows together are the whole step",
       "GFLOP/s: operations of the direct algorithm (Winograd's kernels do fewer, and may pass the peak)",
       "GB/s: every operand of a call once, from whatever cache or memory it comes"},
      {{"order", "order"},
       {"part", "part"},
       {"phase", "phase"},
       {"calls_per_step", "calls", Unit::rate},
       {"seconds_per_step", "time", Unit::seconds},
       {"share_of_step", "share", Unit::share},
       {"gflop_per_s", "GFLOP/s", Unit::rate},
       {"share_of_peak", "of peak", Unit::share},
       {"gb_per_s", "GB/s", Unit::rate}},
      {}};
  std::vector<ProfileRow> rows = profile.rows;
  rows.push_back({.part = "remainder", .phase = "step", .seconds = profile.remainder_seconds()});
  for (const ProfileRow& row : rows) {
    const auto rate = [&](double amount, double unit) {
      return amount > 0 && row.seconds > 0 ? Cell(amount / row.seconds / unit) : Cell();
    };
    table.rows.push_back({order, row.part, row.phase,
                          row.calls > 0 ? Cell(static_cast<double>(row.calls) / steps) : Cell(),
                          row.seconds / steps, profile.seconds > 0 ? row.seconds / profile.seconds : 0,
                          rate(row.flops, 1e9), rate(row.flops, peak), rate(row.bytes, 1e9)});
  }
  return table;
}

std::string profile_text(const DataTable& table) {
  std::vector<std::string> keys;
  for (const Column& column : table.columns)
    if (column.key != "order") keys.push_back(column.key);
  return to_text(select(table, table.title, keys));
}

int64_t nominal_macs(std::span<const GemmShape> gemms) {
  int64_t of_each = 0;
  for (const GemmShape& gemm : gemms)
    if (gemm.kind != GemmShape::Kind::data_gradient) of_each = gemm.macs();
  return of_each * static_cast<int64_t>(gemms.size());
}

double step_flops(const Network& network, int batch) {
  const Dataflow flow(network);
  int64_t macs = 0;
  for (NodeId n = 0; n < network.node_count(); ++n)
    for (const Phase phase : {Phase::forward, Phase::backward}) {
      if (phase == Phase::backward && !flow.has_backward(n)) continue;
      const Node& node = network.node(n);
      macs += nominal_macs(node.layer->gemms(phase, batch, node.wants_dx));
    }
  return 2 * static_cast<double>(macs);
}

}  // namespace mbs
