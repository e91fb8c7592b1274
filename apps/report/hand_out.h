// How a command hands out its report.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace mbs {

/// Where a report goes.
struct Output {
  bool json = false, csv = false;  ///< instead of text
  std::string out;                 ///< a file that gets the JSON as well; empty: none
};

/// Prints a report as text, CSV or JSON, and writes the JSON to a file where one is named. Error: that file
/// cannot be written.
void hand_out(const Output& output, const nlohmann::ordered_json& json, const std::string& csv,
              const std::string& text);

}  // namespace mbs
