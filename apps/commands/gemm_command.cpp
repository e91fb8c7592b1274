// `mbs gemm`: one matrix product on a systolic array.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/commands/command.h"
#include "apps/report/number_text.h"
#include "apps/report/table.h"
#include "engine/check.h"
#include "wavecore/systolic.h"

namespace mbs {
namespace {

/// `mbs gemm`.
struct GemmOptions {
  int64_t m = 0, n = 0, k = 0;
  std::string dataflow = "ws", cycles = "all";
  int rows = 128, cols = 128, tile_rows = 0;  ///< tile_rows 0: no limit
  std::string buffer = "10MiB";
  bool json = false, csv = false;
};

struct NamedModel {
  const char* name;
  CycleModel model;
  const char* meaning;
};
constexpr NamedModel kModels[] = {
    {"none", CycleModel::none, "the array is empty before the next tile is shifted in"},
    {"drain", CycleModel::drain, "the next tile is shifted in while results leave"},
    {"double-buffer", CycleModel::double_buffer, "the next tile is shifted in while the array works"},
    {"scalesim", CycleModel::scalesim,
     "as SCALE-Sim counts; it prints the index of the last cycle, one less"},
};

/// Everything about the product that does not depend on the cycle model.
struct Product {
  ArrayShape array;
  ArrayDataflow dataflow;
  GemmAccesses accesses;
  int64_t buffer_bytes;
  GemmLowerBound bound;
};

Product describe(const GemmOptions& o) {
  Product p;
  p.array = {o.rows, o.cols, o.tile_rows};
  p.dataflow = o.dataflow == "ws"   ? ArrayDataflow::ws
               : o.dataflow == "os" ? ArrayDataflow::os
                                    : ArrayDataflow::is;
  p.accesses = gemm_accesses(o.m, o.n, o.k, p.array, p.dataflow);
  p.buffer_bytes = parse_bytes(o.buffer);
  if (p.buffer_bytes < kOperandBytes)
    fail_usage("--buffer is {}; it must hold at least one operand of {} bytes", o.buffer, kOperandBytes);
  p.bound = gemm_lower_bound(o.m, o.n, o.k, p.buffer_bytes / kOperandBytes);
  return p;
}

DataTable cycle_table(const GemmOptions& o, const Product& p) {
  DataTable table{"cycles",
                  "",
                  {},
                  {{"model", "model"},
                   {"folds", "folds", Unit::count},
                   {"cycles", "cycles", Unit::count},
                   {"utilization", "utilization", Unit::share},
                   {"mapping_efficiency", "mapping", Unit::share},
                   {"printed_by_scalesim", "SCALE-Sim prints", Unit::count}},
                  {}};
  for (const NamedModel& named : kModels) {
    if (o.cycles != "all" && o.cycles != named.name) continue;
    const GemmCycles counted = gemm_cycles(o.m, o.n, o.k, p.array, p.dataflow, named.model);
    const bool scalesim = named.model == CycleModel::scalesim;
    table.rows.push_back({named.name, counted.folds, counted.cycles, counted.utilization(),
                          counted.mapping_efficiency(), scalesim ? Cell(counted.cycles - 1) : Cell()});
    table.notes.push_back(fmt::format("{}: {}", named.name, named.meaning));
    if (scalesim && p.dataflow == ArrayDataflow::os)
      table.notes.push_back("          with os it does not charge the results' way out of the array");
  }
  return table;
}

nlohmann::ordered_json json_of(const GemmOptions& o, const Product& p, const DataTable& cycles) {
  return {{"m", o.m},
          {"n", o.n},
          {"k", o.k},
          {"macs", o.m * o.n * o.k},
          {"dataflow", o.dataflow},
          {"array", {{"rows", o.rows}, {"cols", o.cols}, {"tile_rows", o.tile_rows}}},
          {"cycles", to_json(cycles)["rows"]},
          {"accesses",
           {{"a_reads", p.accesses.a_reads},
            {"b_reads", p.accesses.b_reads},
            {"partial_sums", p.accesses.partial_sums},
            {"results", p.accesses.results}}},
          {"buffer_bytes", p.buffer_bytes},
          {"dram_lower_bound_elems", p.bound.elems()},
          {"dram_compulsory_elems", p.bound.compulsory}};
}

/// One row per cycle model; what does not depend on it is repeated.
DataTable csv_table(const GemmOptions& o, const Product& p, DataTable table) {
  const std::pair<const char*, int64_t> constants[] = {{"m", o.m},
                                                       {"n", o.n},
                                                       {"k", o.k},
                                                       {"a_reads", p.accesses.a_reads},
                                                       {"b_reads", p.accesses.b_reads},
                                                       {"partial_sums", p.accesses.partial_sums},
                                                       {"results", p.accesses.results},
                                                       {"buffer_bytes", p.buffer_bytes},
                                                       {"dram_lower_bound_elems", p.bound.elems()},
                                                       {"dram_compulsory_elems", p.bound.compulsory}};
  for (const auto& [key, value] : constants) {
    table.columns.push_back({key, key, Unit::count});
    for (auto& row : table.rows) row.emplace_back(value);
  }
  return table;
}

void print_text(const GemmOptions& o, const Product& p, DataTable cycles) {
  const char* held = p.dataflow == ArrayDataflow::ws ? "B" : p.dataflow == ArrayDataflow::os ? "C" : "A";
  cycles.title = fmt::format(
      "C[{0}][{1}] = A[{0}][{2}] B[{2}][{1}], {3} multiply-accumulates\n{4} stays in {5} x {6} units "
      "({7}){8}",
      o.m, o.n, o.k, thousands(o.m * o.n * o.k), held, o.rows, o.cols, o.dataflow,
      o.tile_rows > 0 ? fmt::format(", row tiles of {}", o.tile_rows) : "");
  if (o.cycles != "all" && o.cycles != "scalesim") {
    DataTable fewer =
        select(cycles, cycles.title, {"model", "folds", "cycles", "utilization", "mapping_efficiency"});
    fewer.notes = cycles.notes;
    cycles = fewer;
  }
  fmt::print("{}\n", to_text(cycles));
  const auto times = [](int64_t moved, int64_t elems) { return fmt::format("{}", moved / elems); };
  fmt::print("{}",
             to_text(Table{{"between array and buffers", "elements", "times"},
                           {{"A read", thousands(p.accesses.a_reads), times(p.accesses.a_reads, o.m * o.k)},
                            {"B read", thousands(p.accesses.b_reads), times(p.accesses.b_reads, o.k * o.n)},
                            {"partial sums of C", thousands(p.accesses.partial_sums),
                             times(p.accesses.partial_sums, o.m * o.n)}}}));
  fmt::print(
      "\nDRAM elements that no order avoids with a buffer of {}: {}\n  everything once: {}; by the size of "
      "the buffer, 2 M N K / sqrt(S) - 2 S: {}\n",
      binary_bytes(p.buffer_bytes), thousands(p.bound.elems()), thousands(p.bound.compulsory),
      thousands(p.bound.capacity));
}

int run_gemm(const GemmOptions& options) {
  const Product product = describe(options);
  const DataTable cycles = cycle_table(options, product);
  if (options.json)
    fmt::print("{}\n", json_of(options, product, cycles).dump(2));
  else if (options.csv)
    fmt::print("{}", to_csv(csv_table(options, product, cycles)));
  else
    print_text(options, product, cycles);
  return 0;
}

class Gemm final : public Command {
  GemmOptions o_;

  void declare(Parser& parser) override {
    parser({.names = "M",
            .help = "rows of A and C: samples x height x width of a convolution",
            .required = true},
           o_.m);
    parser({.names = "N", .help = "columns of B and C: its output channels", .required = true}, o_.n);
    parser({.names = "K", .help = "columns of A, rows of B: its input channels x kernel", .required = true},
           o_.k);
    parser({"--dataflow", "what stays in the array: ws = weights B, os = outputs C, is = inputs A", 0, 0,
            "ws|os|is"},
           o_.dataflow);
    parser({"--cycles",
            "what overlaps between tiles: none; drain = the next operand comes in while results leave; "
            "double-buffer "
            "= it comes in while the array works; scalesim = as SCALE-Sim counts",
            0, 0, "all|none|drain|double-buffer|scalesim"},
           o_.cycles);
    parser({"--rows", "of the array", 1, 65536}, o_.rows);
    parser({"--cols", "of the array", 1, 65536}, o_.cols);
    parser({"--tile-rows", "rows of results that the accumulators hold (WaveCore: 256); 0: no limit", 0, 1e6},
           o_.tile_rows);
    parser({"--buffer", "on-chip buffer, for the lower bound: 10MiB, 512KiB, ..."}, o_.buffer);
    option_lists::formats(o_, parser);
  }

  void settle(const Parser&) override {
    for (const int64_t size : {o_.m, o_.n, o_.k})
      if (size < 1 || size > 1'000'000)
        fail_usage("M, N and K are {}, {} and {}; each must be between 1 and 1000000", o_.m, o_.n, o_.k);
    if (o_.dataflow == "os" && o_.tile_rows > 0)
      fail_usage(
          "--tile-rows limits the accumulators beside the array; with --dataflow os results stay inside");
  }

  int run() override { return run_gemm(o_); }
};

}  // namespace

COMMAND(gemm, Gemm, "cycles, utilization and accesses of one matrix product on a systolic array",
        "Cycles, utilization and accesses of one matrix product, C[M][N] = A[M][K] B[K][N], on a systolic "
        "array, and the DRAM traffic that it cannot avoid.",
        "  mbs gemm 49 512 4608\n"
        "  mbs gemm 1568 512 4608 --cycles double-buffer --tile-rows 256\n"
        "  mbs gemm 12544 64 147 --dataflow os --rows 32 --cols 32 --json\n")

}  // namespace mbs
