// `mbs bench step`: whole training steps in several orders, and where their time goes.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/commands/command.h"
#include "apps/measure/order_bench.h"
#include "apps/report/hand_out.h"
#include "apps/report/number_text.h"
#include "apps/resolve/machine_info.h"

namespace mbs {
namespace {

DataTable step_table(const StepBench& bench) {
  const ExperimentOptions& e = bench.experiment;
  DataTable table{
      "steps",
      fmt::format(
          "training steps of {}, {}x{} images, batch {}, norm {}, --kernels {}, {} cores, {} threads{}",
          e.arch, e.image_size, e.image_size, e.batch_size, e.norm, e.kernels, e.cores, bench.threads,
          e.profile ? ", profiled" : ""),
      {fmt::format(
           "peak: {:.1f} GFLOP/s of fused multiply-adds on these threads, measured between the rounds",
           bench.peak_flops * 1e-9),
       "GFLOP/s: operations of the direct algorithm (Winograd's kernels do fewer, and may pass 100 %)",
       "s/step: the median; where best is far below it something disturbed the measurement",
       fmt::format(
           "a step: forward, backward, sum of gradients, update; synthetic images, one batch again and "
           "again{}",
           e.mirror ? "; every kernel call is counted in the WaveCore model" : "")},
      {{"network", "network"},
       {"order", "order"},
       {"norm", "norm"},
       {"batch_size", "batch", Unit::count},
       {"image_size", "image", Unit::count},
       {"threads", "threads", Unit::count},
       {"cores", "cores", Unit::count},
       {"kernels", "kernels"},
       {"sub_batches", "sub-batches"},
       {"buffer_bytes", "buffer", Unit::buffer},
       {"steps", "steps", Unit::count},
       {"images_per_second", "images/s", Unit::rate},
       {"seconds_per_step", "s/step", Unit::seconds},
       {"best_seconds_per_step", "best", Unit::seconds},
       {"gflop_per_s", "GFLOP/s", Unit::rate},
       {"share_of_peak", "of peak", Unit::share},
       {"peak_rss_bytes", "peak memory", Unit::buffer},
       {"planned_bytes", "planned", Unit::buffer}},
      {}};
  for (const OrderTimes& o : bench.orders) {
    const double seconds = o.seconds_per_step(), flops = o.times.flops / seconds;
    table.rows.push_back({e.arch, o.order, e.norm, int64_t{e.batch_size}, int64_t{e.image_size},
                          int64_t{bench.threads}, int64_t{e.cores}, e.kernels,
                          joined(o.times.sub_batches, " "), o.times.buffer_bytes,
                          static_cast<int64_t>(o.times.seconds.size()), e.batch_size / seconds, seconds,
                          o.best_seconds_per_step(), flops * 1e-9, flops / bench.peak_flops,
                          o.times.peak_rss_bytes, o.times.planned_bytes});
    if (!o.times.buffer_note.empty() && parse_word<Order>(o.order) != Order::baseline)
      table.notes.push_back(fmt::format("{}: {}", o.order, o.times.buffer_note));
  }
  return table;
}

std::string text_of(const DataTable& steps, const std::vector<DataTable>& profiles) {
  std::string text = to_text(
      select(steps, steps.title,
             {"order", "sub_batches", "steps", "images_per_second", "seconds_per_step",
              "best_seconds_per_step", "gflop_per_s", "share_of_peak", "peak_rss_bytes", "planned_bytes"}));
  for (const DataTable& profile : profiles) text += "\n" + profile_text(profile);
  return text;
}

/// The rows of all tables, which have the same columns.
DataTable one_of(const std::vector<DataTable>& tables) {
  DataTable all = tables.front();
  for (size_t i = 1; i < tables.size(); ++i)
    all.rows.insert(all.rows.end(), tables[i].rows.begin(), tables[i].rows.end());
  return all;
}

int run_bench_step(const BenchStepOptions& options) {
  Display display(options.progress, stderr);
  const StepBench bench = bench_steps(options, display);
  const DataTable steps = step_table(bench);
  nlohmann::ordered_json json{{"network", bench.experiment.arch},
                              {"kernels", bench.experiment.kernels},
                              {"mirror", bench.experiment.mirror},
                              {"isa", machine_info().isa},
                              {"peak_gflop_per_s", bench.peak_flops * 1e-9},
                              {"rows", to_json(steps)["rows"]}};
  std::string csv = to_csv(steps);
  std::vector<DataTable> profiles;
  if (bench.experiment.profile) {
    for (const OrderTimes& o : bench.orders)
      profiles.push_back(profile_table(o.order, o.times.profile, bench.peak_flops));
    json["profile"] = to_json(one_of(profiles))["rows"];
    csv += to_csv(one_of(profiles));
  }
  hand_out(options.output, json, csv, text_of(steps, profiles));
  return 0;
}

class BenchStep final : public Command {
  BenchStepOptions o_;

 public:
  BenchStep() {
    ExperimentOptions& e = o_.experiment;
    e.arch.clear();
    e.mirror = false;
  }

 private:
  void declare(Parser& parser) override {
    ExperimentOptions& e = o_.experiment;
    parser({"network,--arch,-a,--model", "network"}, e.arch);
    parser({"--orders",
            "orders, separated by commas: baseline, il, mbs-fs, mbs1, mbs2, mbs-r; with --norm bn by default "
            "only the first"},
           o_.orders);
    parser(
        {"--steps", "steps of one measurement, after one that is not counted; 0: a second's worth", 0, 1000},
        o_.steps);
    parser({"--rounds", "measurements of each order", 1, 1000}, o_.rounds);
    parser({"--profile", "print where the time of a step goes, by kind of layer and direction"}, e.profile);
    parser({"--image-size", "height and width; 0: what the network usually takes", 0, 1024}, e.image_size);
    option_lists::network(e, parser);
    option_lists::order(e, parser);
    option_lists::machine(e, parser);
    parser({"--mirror", "count every kernel call in the WaveCore model while measuring, as train does"},
           e.mirror);
    option_lists::progress(o_.progress, parser);
    option_lists::output(o_.output, parser);
  }

  void settle(const Parser& parser) override {
    ExperimentOptions& e = o_.experiment;
    if (e.arch.empty())
      fail_usage(
          "mbs bench step needs the name of a network, such as resnet20; `mbs bench step --help` lists them");
    if (e.norm == "bn" && !parser.given("--orders")) o_.orders = {"baseline"};
  }

  int run() override { return run_bench_step(o_); }
};

}  // namespace

NETWORK_COMMAND(bench_step, BenchStep,
                "whole training steps in several orders: images/s, share of the peak, memory",
                "Whole training steps (forward, backward, sum of gradients, SGD with momentum) on synthetic "
                "images, each order in turn in a process of its own: time, share of the FMA peak measured "
                "beside it, memory; medians of all rounds.",
                "  mbs bench step resnet20\n  mbs bench step resnet20 --orders baseline,mbs1,mbs2 --profile\n"
                "  mbs bench step resnet18 --stem cifar --norm bn --json\n"
                "  mbs bench step resnet50 --image-size 224 --batch-size 16 --rounds 2 --csv\n")

}  // namespace mbs
