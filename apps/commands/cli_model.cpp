// The command line of the commands about the modelled accelerator.
#include "apps/options/parser.h"

namespace mbs {
namespace {

// What `mbs simulate` and `mbs paper` run on and count by.
template <class Options>
void add_model(Parser& parser, Options& o) {
  parser({"--machine", "wavecore, or a JSON file (`mbs simulate --print-machine` prints one to start from)"},
         o.machine);
  parser({"--accounting", kAccountingHelp}, o.accounting);
  parser({"--grouping",
          "which blocks share a sub-batch: greedy as published, or the best of all contiguous groupings", 0,
          0, "greedy|optimal"},
         o.grouping);
  parser(
      {"--overlap",
       "what of array, vector units and DRAM runs side by side: each layer's, the whole step's, or nothing",
       0, 0, "layer|step|none"},
      o.overlap);
}

}  // namespace

Command parse_simulate(const std::vector<std::string>& arguments) {
  SimulateOptions o;
  Parser parser(
      "simulate",
      "DRAM traffic, time and energy of a training step on a modelled accelerator, for configurations of "
      "the order of the step and of the array. Lists make sweeps.",
      "  mbs simulate resnet50\n"
      "  mbs simulate resnet50 --configuration MBS2 --buffer 5MiB,10MiB,20MiB,40MiB --csv\n"
      "  mbs simulate all --memory hbm2,lpddr4 --configuration Baseline,MBS2\n"
      "  mbs simulate resnet50 --configuration MBS2 --per-layer\n" +
          network_list());
  parser.app()
      .add_option("network,--arch,-a,--model", o.networks,
                  "network, or several separated by commas; all: the six of the paper")
      ->delimiter(',');
  parser({"--configuration,--configurations",
          "Baseline, ArchOpt, IL, MBS-FS, MBS1, MBS2, MBS-R, several separated by commas, or all"},
         o.configurations);
  parser({"--batch-size,-b", "samples of one core, a list; default 32 (AlexNet: 64)"}, o.batch_sizes);
  parser({"--buffer", "on-chip buffer of one core, a list: 5MiB,10MiB; default: the machine's"}, o.buffers);
  parser({"--memory",
          "hbm2, hbm2x2, gddr5, lpddr4, hbm2e, hbm3, gddr6, lpddr5, ddr5, a list; default: the machine's"},
         o.memories);
  parser({"--chip-cores", "cores that share the memory; 0: the machine's", 0, 4096}, o.chip_cores);
  parser({"--chips", "data-parallel chips: prints the weight gradients that they exchange", 1, 1e6}, o.chips);
  add_model(parser, o);
  option_lists::recompute(o, parser);
  parser({"--per-layer", "every layer in each direction, and what limits it"}, o.per_layer);
  parser({"--roofline", "the matrix products of every layer against the roofs of array and memory"},
         o.roofline);
  parser({"--print-machine", "print the machine as JSON, every constant with unit and source, and stop"},
         o.print_machine);
  parser({"--json", "print JSON"}, o.json);
  parser({"--csv", "print CSV (of --per-layer or --roofline where one is given)"}, o.csv);
  if (parser.parse(arguments)) return parser.help();
  if (o.networks.empty() && !o.print_machine)
    fail_usage(
        "mbs simulate needs the name of a network, such as resnet50, or all; `mbs simulate --help` lists "
        "them");
  return o;
}

Command parse_paper(const std::vector<std::string>& arguments) {
  PaperOptions o;
  Parser parser(
      "paper",
      "Traffic, time and energy of the six networks and six configurations of the MBS paper, its sweeps over "
      "buffers and memories, utilization, groups and space, all from the model; beside them what its "
      "abstract reports.",
      "  mbs paper\n  mbs paper --out paper\n  mbs paper --accounting conservative --json\n");
  parser({"--out", "write paper.txt, paper.json and one CSV file per table into this folder"}, o.out);
  add_model(parser, o);
  parser({"--json", "print JSON"}, o.json);
  parser({"--csv", "print CSV, one table after the other"}, o.csv);
  if (parser.parse(arguments)) return parser.help();
  return o;
}

Command parse_gemm(const std::vector<std::string>& arguments) {
  GemmOptions o;
  Parser parser(
      "gemm",
      "Cycles, utilization and accesses of one matrix product, C[M][N] = A[M][K] B[K][N], on a systolic "
      "array, and the DRAM traffic that it cannot avoid.",
      "  mbs gemm 49 512 4608\n"
      "  mbs gemm 1568 512 4608 --cycles double-buffer --tile-rows 256\n"
      "  mbs gemm 12544 64 147 --dataflow os --rows 32 --cols 32 --json\n");
  parser.app().add_option("M", o.m, "rows of A and C: samples x height x width of a convolution")->required();
  parser.app().add_option("N", o.n, "columns of B and C: its output channels")->required();
  parser.app().add_option("K", o.k, "columns of A, rows of B: its input channels x kernel")->required();
  parser({"--dataflow", "what stays in the array: ws = weights B, os = outputs C, is = inputs A", 0, 0,
          "ws|os|is"},
         o.dataflow);
  parser({"--cycles",
          "what overlaps between tiles: none; drain = the next operand comes in while results leave; "
          "double-buffer "
          "= it comes in while the array works; scalesim = as SCALE-Sim counts",
          0, 0, "all|none|drain|double-buffer|scalesim"},
         o.cycles);
  parser({"--rows", "of the array", 1, 65536}, o.rows);
  parser({"--cols", "of the array", 1, 65536}, o.cols);
  parser({"--tile-rows", "rows of results that the accumulators hold (WaveCore: 256); 0: no limit", 0, 1e6},
         o.tile_rows);
  parser({"--buffer", "on-chip buffer, for the lower bound: 10MiB, 512KiB, ..."}, o.buffer);
  parser({"--json", "print JSON"}, o.json);
  parser({"--csv", "print CSV"}, o.csv);
  if (parser.parse(arguments)) return parser.help();
  for (const int64_t size : {o.m, o.n, o.k})
    if (size < 1 || size > 1'000'000)
      fail_usage("M, N and K are {}, {} and {}; each must be between 1 and 1000000", o.m, o.n, o.k);
  if (o.dataflow == "os" && o.tile_rows > 0)
    fail_usage(
        "--tile-rows limits the accumulators beside the array; with --dataflow os results stay inside");
  return o;
}

}  // namespace mbs
