// `mbs gemm`: its arguments, and what the program prints. The second needs MBS_PROGRAM, which `make
// run-tests` sets.
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "apps/commands/command.h"
#include "tests/doctest.h"
#include "tests/helpers.h"

namespace mbs {
namespace {

std::string error_with(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "gemm");
  return error_of([&] { parse_command_line(arguments); });
}

/// What `mbs gemm ARGUMENTS` prints; "" where the program is not there.
std::string output_of(const std::string& arguments) {
  const char* program = std::getenv("MBS_PROGRAM");
  if (program == nullptr) return "";
  std::FILE* pipe = ::popen(fmt::format("'{}' gemm {}", program, arguments).c_str(), "r");
  std::string out;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) out += static_cast<char>(c);
  EXPECT(::pclose(pipe) == 0);
  return out;
}

TEST_CASE("gemm: wrong arguments") {
  EXPECT(has(error_with({"3", "4"}), "usage: K is required"));
  EXPECT(has(error_with({"3", "4", "0"}),
             "usage: M, N and K are 3, 4 and 0; each must be between 1 and 1000000"));
  EXPECT(has(error_with({"3", "4", "5", "--dataflow", "rs"}),
             "--dataflow is 'rs'; it must be one of: ws, os, is"));
  EXPECT(has(error_with({"3", "4", "5", "--rows", "0"}), "--rows is 0; it must be between 1 and 65536"));
  EXPECT(has(error_with({"3", "4", "5", "--cycle", "none"}), "the nearest is --cycles"));
  EXPECT(has(error_with({"3", "4", "5", "--dataflow", "os", "--tile-rows", "2"}), "--tile-rows limits"));
}

TEST_CASE("gemm: the worked example of docs/wavecore.md") {
  const std::string text = output_of("5 3 4 --rows 3 --cols 2");
  if (text.empty()) return;
  EXPECT(has(
      text,
      {"none               4      44", "drain              4      35", "double-buffer      4      26",
       "scalesim           4      44       22.7 %   50.0 %                43", "index of the last cycle"}));
  EXPECT(!has(output_of("5 3 4 --cycles drain"), "SCALE-Sim"));

  const auto json = nlohmann::json::parse(output_of("5 3 4 --rows 3 --cols 2 --buffer 18 --json"));
  EXPECT(json["macs"] == 5 * 3 * 4);
  EXPECT(json["cycles"].size() == 4);
  EXPECT(json["cycles"][2]["model"] == "double-buffer");
  EXPECT(json["cycles"][2]["utilization"] == 60 / (26 * 6.0));
  EXPECT(json["cycles"][2]["printed_by_scalesim"].is_null());
  EXPECT(json["cycles"][3]["printed_by_scalesim"] == 43);
  EXPECT(json["accesses"]["a_reads"] == 5 * 4 * 2);  // 2 folds of N
  EXPECT(json["accesses"]["partial_sums"] == 5 * 3 * 2);
  EXPECT(json["dram_lower_bound_elems"] == 5 * 4 + 4 * 3 + 5 * 3);  // above 2 * 60 / sqrt(9) - 2 * 9 = 22

  const std::string csv = output_of("5 3 4 --rows 3 --cols 2 --csv --cycles double-buffer");
  EXPECT(has(csv, {"model,folds,cycles,", "\ndouble-buffer,4,26,"}));
}

}  // namespace
}  // namespace mbs
