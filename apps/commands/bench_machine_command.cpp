// `mbs bench machine`: the limits that everything else is measured against.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/commands/command.h"
#include "apps/measure/machine_limits.h"
#include "apps/report/hand_out.h"
#include "apps/report/number_text.h"
#include "apps/report/progress.h"
#include "apps/report/table.h"
#include "apps/resolve/machine_info.h"
#include "engine/parallel.h"
#include "engine/real.h"

namespace mbs {
namespace {

/// `mbs bench machine`.
struct BenchMachineOptions {
  int threads = 0;  ///< 0: all hardware threads
  Output output;
};

const char* precision() { return sizeof(real) == 4 ? "float" : "double"; }

DataTable peak_table(const std::vector<int>& threads) {
  DataTable table{"peak",
                  "fused multiply-adds in registers (two operations each)",
                  {},
                  {{"threads", "threads", Unit::count}, {"gflop_per_s", "GFLOP/s", Unit::rate}},
                  {}};
  for (const int n : threads) table.rows.push_back({int64_t{n}, measure_fma_peak(n) * 1e-9});
  return table;
}

DataTable bandwidth_table(const std::vector<int>& threads) {
  DataTable table{"bandwidth",
                  "bandwidth, all threads together",
                  {"a copy reads and writes: both are counted"},
                  {{"level", "level"},
                   {"threads", "threads", Unit::count},
                   {"working_set_bytes", "a thread's data", Unit::buffer},
                   {"read_gb_per_s", "read GB/s", Unit::rate},
                   {"copy_gb_per_s", "copy GB/s", Unit::rate}},
                  {}};
  Display display("auto", stderr);
  for (const int n : threads) {
    const auto levels = measure_bandwidths(n, [&](const std::string& level) {
      display.status(0, fmt::format("bandwidth of {}, {} threads", level, n), "");
    });
    for (const Bandwidth& b : levels)
      table.rows.push_back({b.level, int64_t{n}, b.bytes, b.read * 1e-9, b.copy * 1e-9});
  }
  return table;
}

int run_bench_machine(const BenchMachineOptions& options) {
  const MachineInfo info = machine_info();
  std::vector<int> threads = {1};
  if (const int all = options.threads > 0 ? options.threads : info.hardware_threads; all > 1)
    threads.push_back(all);
  const DataTable peak = peak_table(threads), bandwidth = bandwidth_table(threads);
  const nlohmann::ordered_json json{{"processor", info.processor},
                                    {"isa", info.isa},
                                    {"hardware_threads", info.hardware_threads},
                                    {"precision", precision()},
                                    {"peak", to_json(peak)["rows"]},
                                    {"bandwidth", to_json(bandwidth)["rows"]}};
  hand_out(options.output, json, to_csv(peak) + to_csv(bandwidth),
           fmt::format("{} ({}), {} hardware threads, {}\n\n{}\n{}",
                       info.processor.empty() ? "unknown processor" : info.processor, info.isa,
                       info.hardware_threads, precision(), to_text(peak), to_text(bandwidth)));
  return 0;
}

class BenchMachine final : public Command {
  BenchMachineOptions o_;

  void declare(Parser& parser) override {
    parser({"--threads,-j", "threads that are measured together, after one alone; 0: all", 0, 4096},
           o_.threads);
    option_lists::output(o_.output, parser);
  }

  int run() override { return run_bench_machine(o_); }
};

}  // namespace

COMMAND(bench_machine, BenchMachine,
        "what this machine can do: multiply-adds a second, bandwidth of every cache and of DRAM",
        "The limits of this machine: fused multiply-adds per second, and bytes per second of every "
        "level of the memory system; of one thread, and of all together.",
        "  mbs bench machine\n  mbs bench machine --threads 1 --json\n")

}  // namespace mbs
