// How `mbs bench` hands out what it measured.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "apps/commands/bench_options.h"

namespace mbs {

/// Prints a report as text, CSV or JSON, and writes the JSON to a file where one is named. Error: that file
/// cannot be written.
void hand_out(const BenchOutput& output, const nlohmann::ordered_json& json, const std::string& csv,
              const std::string& text);

}  // namespace mbs
