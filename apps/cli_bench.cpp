// The command line of the commands that measure.
#include "apps/cli_parser.h"

namespace mbs {
namespace {

constexpr const char* kBench =
    R"(Measures this machine and what the engine makes of it.

usage: mbs bench WHAT [options]

  machine       fused multiply-adds per second, and bandwidth of every level of cache and of DRAM

examples:
  mbs bench machine
  mbs bench machine --threads 1 --json

`mbs bench WHAT --help` shows the options. docs/performance.md says how each figure is measured.
)";

Command parse_bench_machine(const std::vector<std::string>& arguments) {
  BenchMachineOptions o;
  Parser parser("bench machine",
                "The limits of this machine: fused multiply-adds per second, and bytes per second of every "
                "level of the memory system; of one thread, and of all together.",
                "  mbs bench machine\n  mbs bench machine --threads 1 --json\n");
  parser({"--threads,-j", "threads that are measured together, after one alone; 0: all", 0, 4096}, o.threads);
  parser({"--json", "print JSON"}, o.json);
  parser({"--csv", "print CSV, one table after the other"}, o.csv);
  if (parser.parse(arguments)) return parser.help();
  return o;
}

}  // namespace

Command parse_bench(const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h") return HelpText{kBench};
  using Parse = Command (*)(const std::vector<std::string>&);
  const std::vector<std::pair<std::string, Parse>> commands = {{"machine", parse_bench_machine}};
  std::vector<std::string> names;
  for (const auto& [name, parse] : commands) {
    if (arguments[0] == name) return parse({arguments.begin() + 1, arguments.end()});
    names.push_back(name);
  }
  const std::string near = nearest(arguments[0], names);
  fail_usage("mbs bench cannot measure '{}'{}; `mbs bench` alone lists what it can", arguments[0],
             near.empty() ? "" : "; the nearest is " + near);
}

}  // namespace mbs
