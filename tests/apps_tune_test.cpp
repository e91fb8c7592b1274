// mbs tune: what is measured, the file that keeps the best, and that a run uses it without a change of bits.
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "apps/measure/plan_race.h"
#include "apps/resolve/plan_store.h"
#include "tests/doctest.h"
#include "tests/helpers.h"
#include "tests/program.h"
#include "tests/safetensors_file.h"

namespace mbs {
namespace {

using Json = nlohmann::json;

/// Sets MBS_TUNE while it lives.
class TuneVariable {
 public:
  explicit TuneVariable(const std::string& value) { ::setenv("MBS_TUNE", value.c_str(), 1); }
  ~TuneVariable() { ::setenv("MBS_TUNE", "off", 1); }
};

TunedPlan sample_plan() {
  ExperimentOptions e;
  e.cores = 3;
  e.image_size = 32;
  return {tune_key(e, true), "mbs2", 123456, Grouping::optimal, 1.0 / 3, 98765};
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  write_file(path, {text.begin(), text.end()});
}

TEST_CASE("tuned plans: a file gives back what was put in, replaces the same key and order, keeps others") {
  const TempFolder folder;
  const std::string path = (folder / "deep/er/tune.json").string();
  EXPECT(read_tuned_plans(path).empty());
  TunedPlan first = sample_plan(), other_order = first, other_machine = first;
  EXPECT(first.key.batch_per_core == 43);  // 128 over 3 cores
  other_order.order = "mbs1";
  other_machine.key.machine = "elsewhere";
  add_tuned_plans(path, {first, other_order});
  add_tuned_plans(path, {other_machine});
  EXPECT(read_tuned_plans(path) == std::vector{first, other_order, other_machine});
  first.buffer_bytes = 1;
  add_tuned_plans(path, {first});
  EXPECT(read_tuned_plans(path) == std::vector{other_order, other_machine, first});
}

TEST_CASE("tuned plans: only the same machine, network, batch and order match") {
  const TempFolder folder;
  const std::string path = (folder / "tune.json").string();
  const TuneVariable variable(path);
  const TunedPlan plan = sample_plan();
  add_tuned_plans(path, {plan});
  const TunedChoice found = find_tuned_plan(plan.key, "mbs2");
  REQUIRE(found.plan.has_value());
  EXPECT(*found.plan == plan);
  EXPECT(has(found.note, {"measured by mbs tune", path.c_str()}));
  EXPECT(!find_tuned_plan(plan.key, "mbs1").plan);
  TuneKey other = plan.key;
  other.batch_per_core--;
  EXPECT(!find_tuned_plan(other, "mbs2").plan);
  other = plan.key;
  other.fused = false;
  EXPECT(!find_tuned_plan(other, "mbs2").plan);
  const TuneVariable off("off");
  EXPECT(!find_tuned_plan(plan.key, "mbs2").plan);
}

TEST_CASE("tuned plans: a foreign or damaged file is named and not used") {
  const TempFolder folder;
  const std::string path = (folder / "tune.json").string();
  const TuneVariable variable(path);
  const TunedPlan plan = sample_plan();
  add_tuned_plans(path, {plan});
  const Bytes bytes = read_whole(path);
  const std::string good(bytes.begin(), bytes.end());
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    REQUIRE(text.find(from) != std::string::npos);
    return text.replace(text.find(from), from.size(), to);
  };
  const std::pair<std::string, const char*> faults[] = {
      {"", "not a file of mbs tune"},
      {"[1, 2]", "not a file of mbs tune"},
      {good.substr(0, good.size() / 2), "not a file of mbs tune"},
      {with("mbs-tune-1", "mbs-tune-9"), "not a file of mbs tune"},
      {with("\"buffer_bytes\"", "\"bufer\""), "plan 1: 'buffer_bytes' is missing"},
      {with("123456", "\"much\""), "plan 1: 'buffer_bytes' is \"much\""},
      {with("123456", "0"), "plan 1: a buffer of 0 bytes"},
      {with("optimal", "best"), "plan 1: unknown grouping 'best'"},
      {with("mbs2", "mbs7"), "plan 1: unknown order 'mbs7'"}};
  for (const auto& [text, says] : faults) {
    CAPTURE(text);
    write_text(path, text);
    EXPECT(has(error_of([&] { read_tuned_plans(path); }), {path.c_str(), says}));
    EXPECT(has(error_of([&] { add_tuned_plans(path, {plan}); }), {says}));
    const Bytes still = read_whole(path);
    EXPECT(std::string(still.begin(), still.end()) == text);
    const TunedChoice choice = find_tuned_plan(plan.key, "mbs2");
    EXPECT(!choice.plan);
    EXPECT(has(choice.note, {"not used", says}));
  }
}

TEST_CASE("tuning: candidates are different plans, baseline first; batch norm has none") {
  TuneOptions options;
  options.experiment.arch = "resnet8";
  options.experiment.batch_size = 20;
  options.experiment.cores = 2;
  options.buffers = {"1KiB", "200KiB", "256KiB", "16MiB", "32MiB"};
  const std::vector<Candidate> candidates = make_candidates(options);
  EXPECT(candidates.front().order == "baseline");
  size_t serialized = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    EXPECT(candidates[i].plan.schedule.batch == 10);
    serialized += candidates[i].order == "mbs2";
    for (size_t j = 0; j < i; ++j)
      EXPECT(!(candidates[i].order == candidates[j].order &&
               candidates[i].plan.schedule == candidates[j].plan.schedule));
  }
  // 1KiB is enlarged to what a sample needs; 32MiB holds no more than the batch, as 16MiB does.
  EXPECT(serialized >= 3);
  EXPECT(serialized < 10);
  options.experiment.norm = "bn";
  EXPECT(has(error_of([&] { make_candidates(options); }), {"usage", "batch norm"}));
}

TEST_CASE("program: tune keeps the best, train uses it where it is allowed to, with the same bits") {
  if (program().empty()) return;
  const TempFolder folder;
  const std::string path = (folder / "tune.json").string();
  const TuneVariable variable(path);
  const std::vector<std::string> same = {"--batch-size", "12", "--cores", "2"};
  const auto with = [&](std::vector<std::string> arguments, std::initializer_list<const char*> more) {
    arguments.insert(arguments.end(), same.begin(), same.end());
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  const Result tuned = run(folder,
                           with({"tune", "resnet8"}, {"--buffers", "200KiB", "--groupings", "optimal",
                                                      "--orders", "mbs2", "--rounds", "2", "--json"}),
                           "", /*with_errors=*/false);
  REQUIRE_MESSAGE(tuned.code == 0, tuned.out);
  const Json report = Json::parse(tuned.out);
  EXPECT(report["file"] == path);
  REQUIRE(report["plans"].size() == 2);
  const Json& best = report["plans"][1];
  EXPECT(best["best"] == true);
  EXPECT(best["order"] == "mbs2");
  EXPECT(best["steps"].get<int>() >= 4);
  EXPECT(best["images_per_second"] > 0);
  EXPECT(best["peak_rss_bytes"] > 0);

  const auto train = [&](const char* out, std::initializer_list<const char*> more) {
    std::vector<std::string> arguments = with({"train", "--dataset", "synthetic", "--arch", "resnet8",
                                               "--limit-train", "24", "--steps", "2", "--out", out},
                                              more);
    Result result = run(folder, arguments);
    REQUIRE_MESSAGE(result.code == 0, result.out);
    return result.out;
  };
  const auto buffer_of = [&](const char* out) {
    const Bytes text = read_whole(folder / out / "plan.json");
    return Json::parse(text.begin(), text.end())["buffer_bytes"].get<int64_t>();
  };
  EXPECT(has(train("tuned", {}), {"measured by mbs tune", "optimal grouping", path.c_str()}));
  EXPECT(!has(train("plain", {"--no-tune"}), "measured by mbs tune"));
  EXPECT(buffer_of("tuned") == best["buffer_bytes"].get<int64_t>());
  EXPECT(buffer_of("tuned") != buffer_of("plain"));
  EXPECT(!has(train("given", {"--buffer", "1MiB"}), "mbs tune"));
  write_text(path, "junk");
  EXPECT(has(train("damaged", {}), {"not used", "not a file of mbs tune", "level 2 cache"}));
  EXPECT(buffer_of("damaged") == buffer_of("plain"));
  const Result refused = run(folder, with({"tune", "resnet8"}, {}));
  EXPECT(refused.code == 1);
  EXPECT(has(refused.out, {"not a file of mbs tune", "MBS_TUNE"}));
  for (const char* other : {"plain", "given", "damaged"})
    for (const auto& [key, tensor] : read_safetensors(folder / "tuned/last.safetensors").tensors)
      EXPECT(tensor.bytes == read_safetensors(folder / other / "last.safetensors").tensors.at(key).bytes);
}

}  // namespace
}  // namespace mbs
