#include "apps/report/hand_out.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/system/atomic_file.h"

namespace mbs {

void hand_out(const Output& output, const nlohmann::ordered_json& json, const std::string& csv,
              const std::string& text) {
  if (output.json)
    fmt::print("{}\n", json.dump(2));
  else
    fmt::print("{}", output.csv ? csv : text);
  if (!output.out.empty()) replace_file(output.out, json.dump(2) + "\n");
}

}  // namespace mbs
