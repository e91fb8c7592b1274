// The command line of the commands that measure.
#include "apps/options/parser.h"

namespace mbs {
namespace {

constexpr const char* kBench =
    R"(Measures this machine and what the engine makes of it.

usage: mbs bench WHAT [options]

  machine       fused multiply-adds per second, and bandwidth of every level of cache and of DRAM
  kernels NET   every distinct layer of a network: time, GFLOP/s, share of the peak, GB/s, and its error
  step NET      whole training steps in several orders: images/s, share of the peak, memory, and with
                --profile where the time goes

examples:
  mbs bench machine
  mbs bench kernels resnet20
  mbs bench step resnet20 --orders baseline,mbs2 --profile
  mbs bench machine --threads 1 --json

`mbs bench WHAT --help` shows the options. docs/performance.md says how each figure is measured.
)";

void add_output(Parser& parser, BenchOutput& output) {
  parser({"--json", "print JSON"}, output.json);
  parser({"--csv", "print CSV, one table after the other"}, output.csv);
  parser({"--out", "a file that gets the JSON, whatever is printed"}, output.out);
}

Command parse_bench_machine(const std::vector<std::string>& arguments) {
  BenchMachineOptions o;
  Parser parser("bench machine",
                "The limits of this machine: fused multiply-adds per second, and bytes per second of every "
                "level of the memory system; of one thread, and of all together.",
                "  mbs bench machine\n  mbs bench machine --threads 1 --json\n");
  parser({"--threads,-j", "threads that are measured together, after one alone; 0: all", 0, 4096}, o.threads);
  add_output(parser, o.output);
  if (parser.parse(arguments)) return parser.help();
  return o;
}

Command parse_bench_kernels(const std::vector<std::string>& arguments) {
  BenchKernelsOptions o;
  Parser parser("bench kernels",
                "Every distinct layer of a network in every pass: time, GFLOP/s, share of the FMA peak "
                "measured beside it, GB/s where memory is the limit, and the largest error against double "
                "precision. A wrong result is an error, and gets no time.",
                "  mbs bench kernels resnet20\n  mbs bench kernels resnet50 --kind conv2d --csv\n"
                "  mbs bench kernels resnet18 --stem cifar --kernels direct --batch-size 16 --json\n" +
                    network_list());
  parser.app().add_option("network,--arch,-a,--model", o.network.arch, "network");
  parser({"--kernels",
          "convolution kernels: direct = SIMD, winograd = fewer multiplications for 3x3, gemm = im2col and "
          "OpenBLAS, auto = the fastest for each layer",
          0, 0, "auto|direct|winograd|gemm"},
         o.kernels);
  parser({"--kind", "layers of this kind only, such as conv2d; default: all"}, o.kind);
  parser({"--batch-size,-b",
          "samples of one call; 0: as many as a sub-batch of order mbs2 with --buffer auto has", 0, 1e5},
         o.samples);
  parser({"--threads,-j", "threads that run at once, each on samples of its own", 1, 4096}, o.threads);
  parser({"--image-size", "height and width; 0: as the network was published", 0, 4096},
         o.network.image_size);
  parser({"--classes", "classes; 0: 10, or 1000 for an ImageNet network", 0, 1e6}, o.network.classes);
  parser({"--fusion", "none: norm and ReLU are layers of their own", 0, 0, "auto|none|norm-relu"}, o.fusion);
  option_lists::network(o.network, parser);
  add_output(parser, o.output);
  if (parser.parse(arguments)) return parser.help();
  if (o.network.arch.empty())
    fail_usage(
        "mbs bench kernels needs the name of a network, such as resnet20; `mbs bench kernels --help` "
        "lists them");
  return o;
}

Command parse_bench_step(const std::vector<std::string>& arguments) {
  BenchStepOptions o;
  ExperimentOptions& e = o.experiment;
  e.arch.clear();
  e.mirror = false;
  Parser parser("bench step",
                "Whole training steps (forward, backward, sum of gradients, SGD with momentum) on synthetic "
                "images, each order in turn in a process of its own: time, share of the FMA peak measured "
                "beside it, memory; medians of all rounds.",
                "  mbs bench step resnet20\n  mbs bench step resnet20 --orders baseline,mbs1,mbs2 --profile\n"
                "  mbs bench step resnet18 --stem cifar --norm bn --json\n"
                "  mbs bench step resnet50 --image-size 224 --batch-size 16 --rounds 2 --csv\n" +
                    network_list());
  parser.app().add_option("network,--arch,-a,--model", e.arch, "network");
  parser({"--orders",
          "orders, separated by commas: baseline, il, mbs-fs, mbs1, mbs2, mbs-r; with --norm bn by default "
          "only the first"},
         o.orders);
  parser({"--steps", "steps of one measurement, after one that is not counted; 0: a second's worth", 0, 1000},
         o.steps);
  parser({"--rounds", "measurements of each order", 1, 1000}, o.rounds);
  parser({"--profile", "print where the time of a step goes, by kind of layer and direction"}, e.profile);
  parser({"--image-size", "height and width; 0: what the network usually takes", 0, 1024}, e.image_size);
  option_lists::network(e, parser);
  option_lists::order(e, parser);
  option_lists::machine(e, parser);
  parser({"--mirror", "count every kernel call in the WaveCore model while measuring, as train does"},
         e.mirror);
  parser({"--progress", "bar, plain or none; auto: bar on a terminal", 0, 0, "auto|bar|plain|none"},
         o.progress);
  add_output(parser, o.output);
  if (parser.parse(arguments)) return parser.help();
  if (e.arch.empty())
    fail_usage(
        "mbs bench step needs the name of a network, such as resnet20; `mbs bench step --help` lists them");
  if (e.norm == "bn" && parser.app().count("--orders") == 0) o.orders = {"baseline"};
  return o;
}

}  // namespace

Command parse_bench(const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h") return HelpText{kBench};
  using Parse = Command (*)(const std::vector<std::string>&);
  const std::vector<std::pair<std::string, Parse>> commands = {
      {"machine", parse_bench_machine}, {"kernels", parse_bench_kernels}, {"step", parse_bench_step}};
  std::vector<std::string> names;
  for (const auto& [name, parse] : commands) {
    if (arguments[0] == name) return parse({arguments.begin() + 1, arguments.end()});
    names.push_back(name);
  }
  fail_usage("mbs bench cannot measure '{}'{}; `mbs bench` alone lists what it can", arguments[0],
             nearest_hint(arguments[0], names));
}

}  // namespace mbs
