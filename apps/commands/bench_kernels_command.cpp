// `mbs bench kernels`: every distinct layer of a network, timed and checked.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/commands/command.h"
#include "apps/measure/kernel_timing.h"
#include "apps/measure/machine_limits.h"
#include "apps/report/hand_out.h"
#include "apps/report/number_text.h"
#include "apps/report/progress.h"
#include "apps/report/table.h"
#include "apps/resolve/machine_info.h"
#include "apps/training/experiment.h"
#include "engine/check.h"
#include "layers/shapes.h"

namespace mbs {
namespace {

/// `mbs bench kernels`.
struct BenchKernelsOptions {
  /// Network and plan: only what decides them is used.
  PlanCliOptions network{
      .arch = {}, .order = "mbs2", .buffer = "auto", .accounting = "fused", .batch_size = 64};
  std::string kernels = "auto", fusion = "auto", kind;
  int samples = 0;  ///< of one call; 0: the sub-batch of MBS2
  int threads = 1;
  Output output;
};

/// A layer and what was measured of it.
struct Measured {
  LayerCase layer;
  std::vector<KernelTime> times;
};

struct Results {
  std::vector<Measured> layers;
  int share = 1;    ///< samples of a core in a step
  double peak = 0;  ///< floating-point operations per second, measured between the layers
};

std::vector<LayerCase> chosen_layers(const BenchKernelsOptions& options, int& share) {
  const PlanCliOptions& plan_options = options.network;
  choose_kernels(options.kernels);
  const PlanChoice choice =
      plan_choice(plan_options.buffer, rules_of(plan_options.accounting, options.fusion));
  const Network network = as_counted(published_network(plan_options), choice.rules);
  // Batch norm couples samples: there is no sub-batch, and a whole batch is what its kernels are called with.
  const std::string order = plan_options.norm == "bn" ? "baseline" : "mbs2";
  const Plan plan = plan_share(network, order, plan_options.batch_size, plan_options.cores, choice);
  share = plan.schedule.batch;
  std::vector<LayerCase> cases = distinct_layers(network, plan, options.samples);
  if (options.kind.empty()) return cases;
  std::vector<std::string> kinds;
  for (const LayerCase& c : cases)
    if (std::find(kinds.begin(), kinds.end(), c.kind()) == kinds.end()) kinds.push_back(c.kind());
  std::erase_if(cases, [&](const LayerCase& c) { return c.kind() != options.kind; });
  if (cases.empty())
    fail_usage("{} has no layer of kind '{}'; it has {}", network.name(), options.kind, joined(kinds, ", "));
  return cases;
}

Results measure(const BenchKernelsOptions& options) {
  Results results;
  Display display("auto", stderr);
  const std::vector<LayerCase> cases = chosen_layers(options, results.share);
  for (size_t i = 0; i < cases.size(); ++i) {
    display.status(static_cast<double>(i) / static_cast<double>(cases.size()), "kernels", cases[i].spec);
    results.peak = std::max(results.peak, measure_fma_peak(options.threads, 3, 0.01));
    results.layers.push_back({cases[i], time_layer(cases[i], options.threads)});
  }
  return results;
}

DataTable kernel_table(const BenchKernelsOptions& options, const Results& results) {
  DataTable table{
      "kernels",
      fmt::format("kernels of {}, --kernels {}, {} thread{}", options.network.arch, options.kernels,
                  options.threads, options.threads > 1 ? "s" : ""),
      {fmt::format("peak: {:.1f} GFLOP/s, measured between the layers", results.peak * 1e-9),
       "GFLOP/s: operations of the direct algorithm (Winograd's kernels do fewer, and may pass "
       "100 %)",
       "time: of one call, the median; where best is far below it something disturbed the measurement",
       "GB/s: every operand once; samples that fit a cache stay there from call to call",
       "prepare and finish are called once a step, all others once a sub-batch",
       "residual: largest error against double precision, relative to the largest value"},
      {{"kind", "kind"},
       {"spec", "layer"},
       {"input", "input"},
       {"count", "in net", Unit::count},
       {"samples", "samples", Unit::count},
       {"pass", "pass"},
       {"seconds", "time", Unit::microseconds},
       {"best_seconds", "best", Unit::microseconds},
       {"gflop_per_s", "GFLOP/s", Unit::rate},
       {"share_of_peak", "of peak", Unit::share},
       {"gb_per_s", "GB/s", Unit::rate},
       {"residual", "residual", Unit::tiny}},
      {}};
  for (const auto& [layer, times] : results.layers)
    for (const KernelTime& time : times) {
      const bool computes = time.flops > 0;
      const double flops = time.flops / time.seconds;
      table.rows.push_back({layer.kind(), layer.spec, to_text(layer.layer->in_shapes()), int64_t{layer.count},
                            int64_t{layer.samples}, time.pass, time.seconds, time.best_seconds,
                            computes ? Cell(flops * 1e-9) : Cell(),
                            computes ? Cell(flops / results.peak) : Cell(),
                            computes ? Cell() : Cell(time.bytes / time.seconds * 1e-9),
                            time.residual ? Cell(*time.residual) : Cell()});
    }
  return table;
}

/// Time of one sample by kind and pass, each layer as often as the network has it.
DataTable sum_table(const BenchKernelsOptions& options, const Results& results) {
  struct Sum {
    std::string kind, pass;
    double seconds = 0, flops = 0, bytes = 0;
  };
  std::vector<Sum> sums;
  double all = 0;
  for (const auto& [layer, times] : results.layers)
    for (const KernelTime& time : times) {
      auto found = std::find_if(sums.begin(), sums.end(), [&](const Sum& sum) {
        return sum.kind == layer.kind() && sum.pass == time.pass;
      });
      if (found == sums.end()) found = sums.insert(sums.end(), Sum{layer.kind(), time.pass});
      const int samples = time.per_step ? results.share : layer.samples;
      const double calls = static_cast<double>(layer.count) / (samples * options.threads);
      found->seconds += time.seconds * calls;
      found->flops += time.flops * calls;
      found->bytes += time.bytes * calls;
      all += time.seconds * calls;
    }
  DataTable table{"sums",
                  fmt::format("a sample of the whole network, from these kernels, {} samples a step and core",
                              results.share),
                  {},
                  {{"kind", "kind"},
                   {"pass", "pass"},
                   {"seconds_per_sample", "time", Unit::microseconds},
                   {"share_of_time", "share", Unit::share},
                   {"gflop_per_s", "GFLOP/s", Unit::rate},
                   {"share_of_peak", "of peak", Unit::share},
                   {"gb_per_s", "GB/s", Unit::rate}},
                  {}};
  for (const Sum& sum : sums) {
    const bool computes = sum.flops > 0;
    const double flops = sum.flops / sum.seconds;
    table.rows.push_back({sum.kind, sum.pass, sum.seconds, sum.seconds / all,
                          computes ? Cell(flops * 1e-9) : Cell(),
                          computes ? Cell(flops / results.peak) : Cell(),
                          computes ? Cell() : Cell(sum.bytes / sum.seconds * 1e-9)});
  }
  table.notes.push_back(fmt::format("all: {:.1f} us a sample", all * 1e6));
  return table;
}

int run_bench_kernels(const BenchKernelsOptions& options) {
  const Results results = measure(options);
  const DataTable kernels = kernel_table(options, results), sums = sum_table(options, results);
  const nlohmann::ordered_json json{{"network", options.network.arch},
                                    {"kernels", options.kernels},
                                    {"threads", options.threads},
                                    {"isa", machine_info().isa},
                                    {"peak_gflop_per_s", results.peak * 1e-9},
                                    {"rows", to_json(kernels)["rows"]},
                                    {"sums", to_json(sums)["rows"]}};
  hand_out(options.output, json, to_csv(kernels), to_text(kernels) + "\n" + to_text(sums));
  return 0;
}

class BenchKernels final : public Command {
  BenchKernelsOptions o_;

  void declare(Parser& parser) override {
    parser({"network,--arch,-a,--model", "network"}, o_.network.arch);
    parser({"--kernels",
            "convolution kernels: direct = SIMD, winograd = fewer multiplications for 3x3, gemm = im2col and "
            "OpenBLAS, auto = the fastest for each layer",
            0, 0, "auto|direct|winograd|gemm"},
           o_.kernels);
    parser({"--kind", "layers of this kind only, such as conv2d; default: all"}, o_.kind);
    parser({"--batch-size,-b",
            "samples of one call; 0: as many as a sub-batch of order mbs2 with --buffer auto has", 0, 1e5},
           o_.samples);
    parser({"--threads,-j", "threads that run at once, each on samples of its own", 1, 4096}, o_.threads);
    parser({"--image-size", "height and width; 0: as the network was published", 0, 4096},
           o_.network.image_size);
    parser({"--classes", "classes; 0: 10, or 1000 for an ImageNet network", 0, 1e6}, o_.network.classes);
    parser({"--fusion", "none: norm and ReLU are layers of their own", 0, 0, "auto|none|norm-relu"},
           o_.fusion);
    option_lists::network(o_.network, parser);
    option_lists::output(o_.output, parser);
  }

  void settle(const Parser&) override {
    if (o_.network.arch.empty())
      fail_usage(
          "mbs bench kernels needs the name of a network, such as resnet20; `mbs bench kernels --help` "
          "lists them");
  }

  int run() override { return run_bench_kernels(o_); }
};

}  // namespace

NETWORK_COMMAND(bench_kernels, BenchKernels,
                "every distinct layer of a network: time, share of the peak, GB/s, error",
                "Every distinct layer of a network in every pass: time, GFLOP/s, share of the FMA peak "
                "measured beside it, GB/s where memory is the limit, and the largest error against double "
                "precision. A wrong result is an error, and gets no time.",
                "  mbs bench kernels resnet20\n  mbs bench kernels resnet50 --kind conv2d --csv\n"
                "  mbs bench kernels resnet18 --stem cifar --kernels direct --batch-size 16 --json\n")

}  // namespace mbs
