// mbs bench step and --profile: what is counted and timed, and that the parts of a step are the whole of it.
#include <chrono>
#include <nlohmann/json.hpp>
#include <numeric>
#include <thread>

#include "apps/report/progress.h"
#include "apps/training/profiler.h"
#include "engine/data_parallel.h"
#include "engine/optimizer.h"
#include "layers/zoo/zoo.h"
#include "mbs/planner.h"
#include "tests/doctest.h"
#include "tests/helpers.h"
#include "tests/program.h"
#include "tests/safetensors_file.h"

namespace mbs {
namespace {

using Json = nlohmann::json;
using namespace std::chrono_literals;

Network resnet8() {
  NetworkOptions options;
  options.arch = "resnet8";
  options.input = {32, 32, 3};
  options.classes = 10;
  return make_network(options);
}

/// Multiply-accumulates of one sample's step from the shapes of weights and outputs: forward, gradient of the
/// weights, and gradient of the input, which the first layer does not need.
int64_t macs_by_shapes(const Network& network) {
  int64_t macs = 0;
  for (const ParamInfo& param : network.params()) {
    if (param.spec.kind != ParamKind::conv_weight && param.spec.kind != ParamKind::linear_weight) continue;
    const Shape out = network.tensor(network.node(param.node).out).shape;
    const int times = network.node(param.node).in[0] == network.input() ? 2 : 3;
    macs += int64_t{times} * out.h * out.w * param.elems;
  }
  return macs;
}

/// Steps of a network with a plan, observed.
Profile observed(const Network& network, Order order, int cores, int threads, int steps,
                 std::span<Recorder* const> next = {}) {
  const int batch = 3 * cores;
  PlanOptions plan;
  plan.order = order;
  plan.batch = 3;
  plan.buffer_bytes = 2 * smallest_buffer_bytes(network, plan);
  DataParallel training(network, make_plan(network, plan).schedule, batch, cores, threads);
  const std::vector<real> params = initial_params(network, 1);
  std::vector<real> states = initial_states(network);
  const std::vector<real> images(static_cast<size_t>(batch * network.tensor(0).shape.elems()), real(0.5));
  const std::vector<int> labels(static_cast<size_t>(batch), 1);
  Profiler profiler(network, cores, threads, next);
  for (int step = 0; step < steps; ++step) {
    const Stopwatch watch;
    training.step({batch, images.data(), labels.data()}, {1, static_cast<uint64_t>(step)}, params, states,
                  profiler.recorders());
    profiler.add_step(watch.seconds());
  }
  return profiler.profile();
}

double sum_of(const Profile& profile, double ProfileRow::*field) {
  return std::accumulate(profile.rows.begin(), profile.rows.end(), 0.0,
                         [&](double sum, const ProfileRow& row) { return sum + row.*field; });
}

const ProfileRow& row_of(const Profile& profile, const std::string& part, const std::string& phase) {
  for (const ProfileRow& row : profile.rows)
    if (row.part == part && row.phase == phase) return row;
  DOCTEST_FAIL("no row ", part, " ", phase);
  return profile.rows.front();
}

TEST_CASE("profile: operations are those of the network, counted from events, products and shapes") {
  const Network network = resnet8();
  for (const Order order : {Order::baseline, Order::mbs2, Order::mbs_r}) {
    const std::string name = word_of(order);
    CAPTURE(name);
    const Profile profile = observed(network, order, 2, 2, 2);
    const double step = 2.0 * 6 * static_cast<double>(macs_by_shapes(network));  // 6 samples
    EXPECT(step_flops(network, 6) == step);
    EXPECT(sum_of(profile, &ProfileRow::flops) == 2 * step);  // 2 steps
    EXPECT(row_of(profile, "conv2d", "forward").flops > 0);
    EXPECT(row_of(profile, "group_norm", "backward").flops == 0);
    const bool again = order == Order::mbs_r;  // norms and ReLU are made again
    EXPECT(std::any_of(profile.rows.begin(), profile.rows.end(),
                       [](const ProfileRow& row) { return row.phase == "recompute"; }) == again);
  }
}

TEST_CASE("profile: calls and operand bytes follow from the sub-batches") {
  const Network network = resnet8();
  const Profile baseline = observed(network, Order::baseline, 1, 1, 1);
  // conv1 and two convolutions in each of three modules (no shortcut has one); the batch is one chunk.
  EXPECT(row_of(baseline, "conv2d", "forward").calls == 7);
  // The output layer: 64 features and a weight of 64 x 10 and a bias are read, 10 values written, 3 samples.
  EXPECT(row_of(baseline, "linear", "forward").bytes == (3 * 64 + 64 * 10 + 10 + 3 * 10) * sizeof(real));
  // ReLU: reads and writes every element, and writes a bit of each.
  const ProfileRow& relu = row_of(baseline, "relu", "forward");
  EXPECT(row_of(baseline, "relu", "backward").bytes == relu.bytes);
  const double elems = 3 * (3 * 32 * 32 * 16 + 2 * 16 * 16 * 32 + 2 * 8 * 8 * 64);
  EXPECT(relu.bytes == elems * (2 * sizeof(real) + 1.0 / 8));
}

TEST_CASE("profile: times are not negative, and add up to the step with one thread and several") {
  const Network network = resnet8();
  for (const int threads : {1, 2, 3}) {
    CAPTURE(threads);
    const Profile profile = observed(network, Order::mbs2, 3, threads, 3);
    EXPECT(profile.steps == 3);
    for (const ProfileRow& row : profile.rows) {
      CAPTURE(row.part);
      EXPECT(row.seconds >= -1e-9);
    }
    EXPECT(profile.remainder_seconds() >= -1e-9);
    EXPECT(sum_of(profile, &ProfileRow::seconds) + profile.remainder_seconds() ==
           doctest::Approx(profile.seconds));
    EXPECT(row_of(profile, "conv2d", "backward").seconds > 0);
  }
}

TEST_CASE("profile: the time of another recorder is counted apart") {
  struct Slow : Recorder {
    int calls = 0;
    void on_kernel(const KernelEvent& event) override {
      if (event.name != "fc") return;
      calls++;
      std::this_thread::sleep_for(20ms);
    }
  } slow;
  Recorder* const next[] = {&slow};
  const Profile profile = observed(resnet8(), Order::baseline, 1, 1, 1, next);
  EXPECT(slow.calls == 2);
  EXPECT(row_of(profile, "count in the model", "step").seconds >= 0.04);
  EXPECT(profile.remainder_seconds() >= -1e-9);
}

TEST_CASE("profile: a call gets the time before it, and what a core waits for the others is waiting") {
  const Network network = resnet8();
  for (const int threads : {1, 2}) {
    CAPTURE(threads);
    Profiler profiler(network, 2, threads, {});
    const auto all = [&](Stage stage) {
      for (Recorder* recorder : profiler.recorders()) recorder->on_stage(stage);
    };
    const auto call = [&](Recorder* recorder, Phase phase, std::chrono::milliseconds time) {
      std::this_thread::sleep_for(time);
      KernelEvent event;
      event.phase = phase;  // of node 0, the first convolution
      recorder->on_kernel(event);
    };
    const Stopwatch watch;
    all(Stage::begin);
    std::this_thread::sleep_for(7ms);
    all(Stage::prepare);
    for (Recorder* core : profiler.recorders()) {  // one after the other, however many threads there are
      core->on_stage(Stage::enter);
      core->on_stage(Stage::clear);
      call(core, Phase::forward, 10ms);
      call(core, Phase::backward, 20ms);
    }
    all(Stage::leave);
    profiler.add_step(watch.seconds());
    const Profile profile = profiler.profile();
    EXPECT(row_of(profile, "prepare weights", "step").seconds >= 0.007);
    EXPECT(row_of(profile, "conv2d", "forward").calls == 2);
    EXPECT(row_of(profile, "conv2d", "forward").seconds >= 2 * 0.010 / threads);
    EXPECT(row_of(profile, "conv2d", "backward").seconds >= 2 * 0.020 / threads);
    const double wait = row_of(profile, "wait for threads", "step").seconds;
    EXPECT(wait >= -1e-9);
    if (threads == 2) EXPECT(wait >= 0.030);  // each thread has nothing to do while the other one works
    EXPECT(profile.remainder_seconds() >= -1e-9);
  }
}

TEST_CASE("profile: profiles of rounds are added row by row, and survive JSON") {
  Profile sum{2, 1.0, {{"conv2d", "forward", 4, 0.25, 100, 10}}};
  const Profile more{3, 2.0, {{"conv2d", "forward", 6, 0.5, 150, 15}, {"add", "forward", 1, 0.125, 0, 8}}};
  sum += profile_from_json(to_json(more));
  EXPECT(sum.steps == 5);
  EXPECT(sum.remainder_seconds() == 3 - 0.875);
  REQUIRE(sum.rows.size() == 2);
  EXPECT(sum.rows[0].calls == 10);
  EXPECT(sum.rows[0].seconds == 0.75);
  EXPECT(sum.rows[0].flops == 250);
  EXPECT(sum.rows[0].bytes == 25);
  const Json rows = Json::parse(to_json(profile_table("mbs2", sum, 1e3))["rows"].dump());
  REQUIRE(rows.size() == 3);
  EXPECT(rows[0]["order"] == "mbs2");
  EXPECT(rows[0]["calls_per_step"] == 2);
  EXPECT(rows[0]["seconds_per_step"] == 0.15);
  EXPECT(rows[0]["share_of_step"] == 0.25);
  EXPECT(rows[0]["share_of_peak"].get<double>() == doctest::Approx(250 / 0.75 / 1e3));
  EXPECT(rows[1]["gflop_per_s"].is_null());
  EXPECT(rows[1]["gb_per_s"].get<double>() == doctest::Approx(8 / 0.125 * 1e-9));
  EXPECT(rows[2]["part"] == "remainder");
}

std::vector<std::string> bench(std::vector<std::string> more) {
  std::vector<std::string> all = {"bench", "step",    "resnet8", "--batch-size", "4", "--cores",
                                  "2",     "--steps", "1",       "--rounds",     "2", "--progress",
                                  "none"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TEST_CASE("program: bench step reports every order, and its profile is the whole step") {
  if (program().empty()) return;
  const TempFolder folder;
  const Result result = run(folder,
                            bench({"--orders", "baseline,mbs1,mbs2", "--buffer", "200KiB", "--profile",
                                   "--json", "--out", "b.json"}),
                            "", false);
  REQUIRE_MESSAGE(result.code == 0, result.out);
  const Json report = Json::parse(result.out);
  const Bytes file = read_whole(folder / "b.json");
  EXPECT(Json::parse(file.begin(), file.end()) == report);
  EXPECT(report["mirror"] == false);
  REQUIRE(report["rows"].size() == 3);
  const double step = 2.0 * 4 * static_cast<double>(macs_by_shapes(resnet8()));
  for (const Json& row : report["rows"]) {
    CAPTURE(row.dump());
    EXPECT(row["network"] == "resnet8");
    EXPECT(row["norm"] == "gn");
    EXPECT(row["batch_size"] == 4);
    EXPECT(row["image_size"] == 32);
    EXPECT(row["cores"] == 2);
    EXPECT(row["threads"].get<int>() >= 1);
    EXPECT(row["steps"] == 2);  // one in each round
    const double seconds = row["seconds_per_step"].get<double>();
    EXPECT(seconds > 0);
    EXPECT(row["best_seconds_per_step"].get<double>() <= seconds);
    EXPECT(row["images_per_second"].get<double>() == doctest::Approx(4 / seconds));
    const double share = row["share_of_peak"].get<double>();
    EXPECT(share * report["peak_gflop_per_s"].get<double>() * 1e9 * seconds == doctest::Approx(step));
    EXPECT(row["planned_bytes"].get<int64_t>() > 100'000);
    EXPECT(row["peak_rss_bytes"].get<int64_t>() > row["planned_bytes"].get<int64_t>());

    double shares = 0, flops = 0;
    for (const Json& part : report["profile"]) {
      if (part["order"] != row["order"]) continue;
      shares += part["share_of_step"].get<double>();
      if (!part["gflop_per_s"].is_null())
        flops += part["gflop_per_s"].get<double>() * 1e9 * part["seconds_per_step"].get<double>();
    }
    EXPECT(shares == doctest::Approx(1));
    EXPECT(flops == doctest::Approx(step));
  }
  EXPECT(report["rows"][0]["order"] == "baseline");
  EXPECT(report["rows"][0]["sub_batches"] == "2");  // the share of a core
  EXPECT(report["rows"][2]["order"] == "mbs2");

  const Result text = run(folder, bench({"--orders", "mbs2", "--profile"}));
  EXPECT(has(text.out, {"images/s", "of peak", "mbs2: where the", "group_norm+relu", "wait for threads",
                        "optimizer", "remainder"}));
  const Result csv = run(folder, bench({"--orders", "mbs2", "--csv"}), "", false);
  EXPECT(csv.out.starts_with("network,order,norm,batch_size,"));
  EXPECT(std::count(csv.out.begin(), csv.out.end(), '\n') == 2);
}

TEST_CASE("program: bench step says what it cannot measure") {
  if (program().empty()) return;
  const TempFolder folder;
  const auto refused = [&](const std::vector<std::string>& arguments,
                           std::initializer_list<const char*> says) {
    const Result result = run(folder, arguments);
    CAPTURE(result.out);
    EXPECT(result.code == 2);
    EXPECT(has(result.out, says));
  };
  refused({"bench", "step"}, {"needs the name of a network"});
  refused({"bench", "step", "resnet8", "--order", "mbs2"}, {"--orders"});
  refused({"bench", "stepp"}, {"the nearest is step"});
  refused(bench({"--orders", "mbs7"}), {"mbs7"});
  refused(bench({"--orders", "baseline,mbs2", "--norm", "bn"}), {"batch norm", "order mbs2", "--norm gn"});
  refused(bench({"--batch-size", "1"}), {"cannot be shared by 2 cores"});
  const Result bn = run(folder, bench({"--norm", "bn", "--json"}), "", false);
  REQUIRE_MESSAGE(bn.code == 0, bn.out);
  const Json rows = Json::parse(bn.out)["rows"];
  REQUIRE(rows.size() == 1);
  EXPECT(rows[0]["order"] == "baseline");
  EXPECT(rows[0]["norm"] == "bn");
}

TEST_CASE("program: train --profile shows the whole of its steps and changes no bit") {
  if (program().empty()) return;
  const TempFolder folder;
  const auto train = [&](const char* out, std::initializer_list<std::string> more) {
    std::vector<std::string> arguments = {
        "train", "--dataset",  "synthetic", "--arch",        "resnet8", "--batch-size",
        "6",     "--cores",    "2",         "--steps",       "4",       "--out",
        out,     "--progress", "none",      "--limit-train", "24"};
    arguments.insert(arguments.end(), more);
    const Result result = run(folder, arguments);
    REQUIRE_MESSAGE(result.code == 0, result.out);
    return result.out;
  };
  EXPECT(has(train("with", {"--profile"}),
             {"mean of 4 steps", "conv2d", "wait for images", "count in the model", "remainder"}));
  EXPECT(!has(train("without", {}), "wait for images"));
  const auto with = read_safetensors(folder / "with/last.safetensors").tensors,
             without = read_safetensors(folder / "without/last.safetensors").tensors;
  REQUIRE(with.size() == without.size());
  for (const auto& [key, tensor] : with) EXPECT(tensor.bytes == without.at(key).bytes);

  const Bytes log = read_whole(folder / "with/log.jsonl");
  const std::string text(log.begin(), log.end());
  const size_t at = text.find("{\"event\":\"profile\"");
  REQUIRE(at != std::string::npos);
  const Json event = Json::parse(text.substr(at, text.find('\n', at) - at));
  EXPECT(event["steps"] == 4);
  double shares = 0;
  for (const Json& row : event["rows"]) shares += row["share_of_step"].get<double>();
  EXPECT(shares == doctest::Approx(1));
}

}  // namespace
}  // namespace mbs
