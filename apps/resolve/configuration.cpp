#include "apps/resolve/configuration.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "apps/report/number_text.h"
#include "engine/check.h"

namespace mbs {
namespace {

constexpr size_t kPaperConfigurations = 6;

const std::array<Configuration, kPaperConfigurations + 1>& list() {
  static const std::array<Configuration, kPaperConfigurations + 1> configurations = {{
      {"Baseline", "baseline", false},
      {"ArchOpt", "baseline", true},
      {"IL", "il", true},
      {"MBS-FS", "mbs-fs", true},
      {"MBS1", "mbs1", true},
      {"MBS2", "mbs2", true},
      {"MBS-R", "mbs-r", true},
  }};
  return configurations;
}

bool same_letters(const std::string& a, const std::string& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

}  // namespace

std::span<const Configuration> all_configurations() { return list(); }

std::span<const Configuration> paper_configurations() {
  return all_configurations().first(kPaperConfigurations);
}

const Configuration& parse_configuration(const std::string& name) {
  std::vector<std::string> names;
  for (const Configuration& configuration : all_configurations()) {
    if (same_letters(configuration.name, name)) return configuration;
    names.push_back(configuration.name);
  }
  fail_usage("unknown configuration '{}'; there are {}, and all", name, joined(names, ", "));
}

std::vector<Configuration> parse_configurations(const std::vector<std::string>& names) {
  std::vector<Configuration> found;
  for (const std::string& name : names) {
    if (name == "all")
      found.insert(found.end(), all_configurations().begin(), all_configurations().end());
    else
      found.push_back(parse_configuration(name));
  }
  return found;
}

}  // namespace mbs
