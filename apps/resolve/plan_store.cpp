#include "apps/resolve/plan_store.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "apps/options/settings.h"
#include "apps/report/number_text.h"
#include "apps/resolve/machine_info.h"
#include "apps/system/atomic_file.h"
#include "engine/check.h"
#include "engine/real.h"

namespace mbs {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr const char* kFormat = "mbs-tune-1";

Json to_json(const TunedPlan& plan) {
  return Json{{"machine", plan.key.machine},
              {"precision", plan.key.precision},
              {"network", plan.key.network},
              {"norm", plan.key.norm},
              {"shortcut", plan.key.shortcut},
              {"stem", plan.key.stem},
              {"image_size", plan.key.image_size},
              {"batch_per_core", plan.key.batch_per_core},
              {"kernels", plan.key.kernels},
              {"fused", plan.key.fused},
              {"order", plan.order},
              {"buffer_bytes", plan.buffer_bytes},
              {"grouping", word_of(plan.grouping)},
              {"images_per_second", plan.images_per_second},
              {"peak_rss_bytes", plan.peak_rss_bytes}};
}

/// One plan of a file.
class PlanReader {
 public:
  PlanReader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  TunedPlan read() const {
    TunedPlan plan;
    field("machine", plan.key.machine);
    field("precision", plan.key.precision);
    field("network", plan.key.network);
    field("norm", plan.key.norm);
    field("shortcut", plan.key.shortcut);
    field("stem", plan.key.stem);
    field("image_size", plan.key.image_size);
    field("batch_per_core", plan.key.batch_per_core);
    field("kernels", plan.key.kernels);
    field("fused", plan.key.fused);
    field("order", plan.order);
    field("buffer_bytes", plan.buffer_bytes);
    std::string grouping;
    field("grouping", grouping);
    field("images_per_second", plan.images_per_second);
    field("peak_rss_bytes", plan.peak_rss_bytes);
    try {
      parse_word<Order>(plan.order);
      plan.grouping = parse_word<Grouping>(grouping);
    } catch (const Error& error) {
      fail("{}: {}", where_, error.what());
    }
    if (plan.buffer_bytes < 1) fail("{}: a buffer of {} bytes", where_, plan.buffer_bytes);
    return plan;
  }

 private:
  template <class Field>
  void field(const char* name, Field& value) const {
    const auto found = json_.find(name);
    if (found == json_.end()) fail("{}: '{}' is missing", where_, name);
    const bool good = std::is_same_v<Field, std::string> ? found->is_string()
                      : std::is_same_v<Field, bool>      ? found->is_boolean()
                      : std::is_same_v<Field, double>    ? found->is_number()
                                                         : found->is_number_integer();
    if (!good) fail("{}: '{}' is {}, which is of another type than expected", where_, name, found->dump());
    value = found->get<Field>();
  }

  const Json& json_;
  const std::string where_;
};

std::string machine_key() {
  const MachineInfo info = machine_info();
  std::string key = info.processor + ", " + info.isa;
  for (const Cache& cache : info.caches)
    if (cache.type != "Instruction") key += fmt::format(", L{} {}", cache.level, binary_bytes(cache.bytes));
  return key;
}

}  // namespace

TuneKey tune_key(const ExperimentOptions& o, bool fused) {
  return {.machine = machine_key(),
          .precision = sizeof(real) == sizeof(float) ? "float" : "double",
          .network = o.arch,
          .norm = o.norm,
          .shortcut = o.shortcut,
          .stem = o.stem,
          .image_size = o.image_size,
          .batch_per_core = (o.batch_size + o.cores - 1) / o.cores,
          .kernels = o.kernels,
          .fused = fused};
}

std::string tune_path() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (const std::string given = variable("MBS_TUNE"); !given.empty()) return given == "off" ? "" : given;
  if (const std::string config = variable("XDG_CONFIG_HOME"); !config.empty())
    return config + "/mbs/tune.json";
  const std::string home = variable("HOME");
  return home.empty() ? "" : home + "/.config/mbs/tune.json";
}

std::vector<TunedPlan> read_tuned_plans(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  const Json json = Json::parse(read_text_file(path), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.value("format", Json()) != kFormat || !json.value("plans", Json()).is_array())
    fail("{} is not a file of mbs tune ({}), or is damaged: remove it, or name another with MBS_TUNE", path,
         kFormat);
  std::vector<TunedPlan> plans;
  for (const Json& plan : json["plans"])
    plans.push_back(PlanReader(plan, fmt::format("{}: plan {}", path, plans.size() + 1)).read());
  return plans;
}

void add_tuned_plans(const std::string& path, const std::vector<TunedPlan>& plans) {
  Json list = Json::array();
  for (const TunedPlan& old : read_tuned_plans(path)) {
    const bool replaced = std::any_of(plans.begin(), plans.end(), [&](const TunedPlan& plan) {
      return plan.key == old.key && plan.order == old.order;
    });
    if (!replaced) list.push_back(to_json(old));
  }
  for (const TunedPlan& plan : plans) list.push_back(to_json(plan));
  std::error_code error;
  if (const fs::path folder = fs::path(path).parent_path(); !folder.empty())
    fs::create_directories(folder, error);  // what goes wrong shows when the file is written
  replace_file(path, Json{{"format", kFormat}, {"plans", list}}.dump(2) + "\n");
}

TunedChoice find_tuned_plan(const TuneKey& key, const std::string& order) {
  const std::string path = tune_path();
  if (path.empty()) return {};
  try {
    for (const TunedPlan& plan : read_tuned_plans(path))
      if (plan.key == key && plan.order == order)
        return {plan, fmt::format("measured by mbs tune on this machine ({})", path)};
  } catch (const Error& error) {
    return {{}, fmt::format("not used: {}", error.what())};
  }
  return {};
}

}  // namespace mbs
