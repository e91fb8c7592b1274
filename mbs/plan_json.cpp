#include "mbs/plan_json.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <map>

#include "engine/check.h"

namespace mbs {
namespace {

using Json = nlohmann::ordered_json;

// Only these are offered to the reader, in the order of the enums.
constexpr const char* kSpaceNames[] = {"out-of-place", "in-place"};
constexpr const char* kReuseNames[] = {"none", "chain", "group", "hold"};
constexpr const char* kRecomputeNames[] = {"nothing", "branches", "joins", "expansions"};
constexpr const char* kPhaseNames[] = {"forward", "backward"};

// A place in the document, so that a message can name it.
struct Field {
  const Json& json;
  std::string path;

  Field at(const std::string& key) const {
    if (!json.is_object()) fail("plan: {} must be an object", path.empty() ? "the document" : path);
    const auto it = json.find(key);
    const std::string name = path.empty() ? key : path + "." + key;
    if (it == json.end()) fail("plan: the field '{}' is missing", name);
    return {*it, name};
  }
  std::vector<Field> items(bool may_be_empty = false) const {
    if (!json.is_array() || (json.empty() && !may_be_empty))
      fail("plan: '{}' must be a list{}", path, may_be_empty ? "" : " that is not empty");
    std::vector<Field> all;
    for (size_t i = 0; i < json.size(); ++i) all.push_back({json[i], fmt::format("{}[{}]", path, i)});
    return all;
  }
  int64_t integer(int64_t min, int64_t max) const {
    const bool fits =
        json.is_number_integer() &&
        (!json.is_number_unsigned() || json.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()});
    if (!fits || json.get<int64_t>() < min || json.get<int64_t>() > max)
      fail("plan: '{}' must be a whole number from {} to {}", path, min, max);
    return json.get<int64_t>();
  }
  int small_integer(int min, int max) const { return static_cast<int>(integer(min, max)); }
  bool boolean() const {
    if (!json.is_boolean()) fail("plan: '{}' must be true or false", path);
    return json.get<bool>();
  }
  std::string text() const {
    if (!json.is_string()) fail("plan: '{}' must be a text", path);
    return json.get<std::string>();
  }
  template <class Enum, class Names>
  Enum one_of(const Names& names) const {
    const std::string name = text();
    const auto found = std::find(std::begin(names), std::end(names), name);
    if (found == std::end(names))
      fail("plan: '{}' is '{}'; it must be one of {}", path, name, fmt::join(names, ", "));
    return static_cast<Enum>(found - std::begin(names));
  }
};

constexpr int64_t kMaxBytes = std::numeric_limits<int64_t>::max();

Order read_order(const Field& field) {
  const std::string name = field.text();
  if (const auto order = find_word<Order>(name)) return *order;
  fail("plan: '{}' is '{}', which is no order", field.path, name);
}

TrafficRules read_rules(const Field& root) {
  TrafficRules rules;
  rules.name = root.at("accounting").text();
  rules.space = root.at("space").one_of<Space>(kSpaceNames);
  rules.feature_bits = root.at("feature_bits").small_integer(1, 64);
  rules.partial_sum_bits = root.at("partial_sum_bits").small_integer(1, 64);
  rules.pool_index_bits = root.at("pool_index_bits").small_integer(1, 64);
  rules.max_sweeps = root.at("max_sweeps").small_integer(1, 2);
  rules.fused = root.at("fused").boolean();
  return rules;
}

Schedule read_schedule(const Network& network, const Field& root) {
  std::map<std::string, NodeId> nodes;
  for (NodeId n = 0; n < network.node_count(); ++n) nodes[network.node(n).name] = n;
  const auto node = [&](const Field& field) {
    const auto it = nodes.find(field.text());
    if (it == nodes.end())
      fail("plan: '{}' is '{}', which is no layer of {}", field.path, field.text(), network.name());
    return it->second;
  };
  Schedule schedule;
  schedule.order = root.at("order").text();
  schedule.batch = root.at("batch_size").small_integer(1, kMaxBatch);
  for (const Field& pass : root.at("passes").items()) {
    schedule.passes.push_back({pass.at("phase").one_of<Phase>(kPhaseNames), node(pass.at("first")),
                               node(pass.at("last")), pass.at("sub_batch").small_integer(1, kMaxBatch),
                               pass.at("reuse").one_of<Reuse>(kReuseNames),
                               pass.at("recompute").one_of<Recompute>(kRecomputeNames)});
  }
  for (const Field& name : root.at("kept").items(true)) schedule.kept.push_back(network.node(node(name)).out);
  validate(network, schedule);
  if (const int pass = first_unpredictable(network, schedule); pass >= 0)
    fail("plan: 'passes[{}]' keeps or makes again what no order does, or not over whole blocks", pass);
  return schedule;
}

std::vector<Group> read_groups(const Network& network, const Field& root, int batch) {
  const int blocks = static_cast<int>(network.blocks().size());
  std::vector<Group> groups;
  int next = 0;  // the first block that no group has yet
  for (const Field& field : root.at("groups").items()) {
    Group group;
    group.first_block = field.at("first").small_integer(next, next);
    group.last_block = field.at("last").small_integer(next, blocks - 1);
    group.treatment = field.at("treatment").one_of<Treatment>(treatment_names());
    for (const Field& block : field.at("kept").items(true))
      group.kept.push_back(block.small_integer(group.first_block + 1, group.last_block));
    group.sub_batch = field.at("sub_batch").small_integer(1, batch);
    const int chunks = (batch - 1) / group.sub_batch + 1;
    group.iterations = field.at("iterations").small_integer(chunks, chunks);
    group.footprint_bytes_per_sample = field.at("footprint_bytes_per_sample").integer(0, kMaxBytes);
    group.weight_bytes = field.at("weight_bytes").integer(0, kMaxBytes);
    groups.push_back(group);
    next = group.last_block + 1;
  }
  if (next != blocks) fail("plan: 'groups' end at block {} of {}", next, blocks);
  return groups;
}

Json group_to_json(const Network& network, const Group& group) {
  Json names = Json::array();
  for (int b = group.first_block; b <= group.last_block; ++b)
    names.push_back(network.blocks()[static_cast<size_t>(b)].name);
  return {{"first", group.first_block},
          {"last", group.last_block},
          {"blocks", names},
          {"treatment", treatment_name(group.treatment)},
          {"kept", group.kept},
          {"sub_batch", group.sub_batch},
          {"iterations", group.iterations},
          {"footprint_bytes_per_sample", group.footprint_bytes_per_sample},
          {"weight_bytes", group.weight_bytes}};
}

}  // namespace

Json traffic_to_json(const Traffic& traffic) {
  Json json = Json::object();
  for (size_t c = 0; c < kTrafficClasses; ++c)
    json[kTrafficClassNames[c]] = traffic.class_bytes(static_cast<TrafficClass>(c));
  return json;
}

Json plan_to_json(const Network& network, const Plan& plan) {
  Json json;
  json["network"] = plan.network;
  json["order"] = word_of(plan.order);
  json["batch_size"] = plan.schedule.batch;
  json["buffer_bytes"] = plan.buffer_bytes;
  json["accounting"] = plan.rules.name;
  json["space"] = kSpaceNames[static_cast<size_t>(plan.rules.space)];
  json["feature_bits"] = plan.rules.feature_bits;
  json["partial_sum_bits"] = plan.rules.partial_sum_bits;
  json["pool_index_bits"] = plan.rules.pool_index_bits;
  json["max_sweeps"] = plan.rules.max_sweeps;
  json["fused"] = plan.rules.fused;
  json["dram_bytes_per_step"] = plan.predicted.total_bytes();
  json["dram_bytes_by_class"] = traffic_to_json(plan.predicted);
  json["groups"] = Json::array();
  for (const Group& group : plan.groups) json["groups"].push_back(group_to_json(network, group));
  json["spilled"] = plan.spilled;
  json["kept"] = Json::array();
  for (const TensorId t : plan.schedule.kept)
    json["kept"].push_back(network.node(network.tensor(t).producer).name);
  json["passes"] = Json::array();
  for (const Pass& pass : plan.schedule.passes) {
    json["passes"].push_back({{"phase", kPhaseNames[static_cast<size_t>(pass.phase)]},
                              {"first", network.node(pass.first).name},
                              {"last", network.node(pass.last).name},
                              {"sub_batch", pass.sub_batch},
                              {"reuse", kReuseNames[static_cast<size_t>(pass.reuse)]},
                              {"recompute", kRecomputeNames[static_cast<size_t>(pass.recompute)]}});
  }
  return json;
}

Plan plan_from_json(const Network& network, const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) fail("plan: not a JSON document");
  const Field root{json, ""};
  Plan plan;
  plan.network = root.at("network").text();
  if (plan.network != network.name())
    fail("plan: it was made for the network '{}', not for '{}'", plan.network, network.name());
  plan.order = read_order(root.at("order"));
  plan.buffer_bytes = root.at("buffer_bytes").integer(1, kMaxBytes);
  plan.rules = read_rules(root);
  plan.schedule = read_schedule(network, root);
  plan.groups = read_groups(network, root, plan.schedule.batch);
  PlanOptions options{plan.order, plan.schedule.batch, plan.buffer_bytes, plan.rules};
  plan.spilled = spilled_blocks(network, options);
  if (root.at("spilled").json != Json(plan.spilled))
    fail("plan: 'spilled' must be [{}]: the blocks that do not fit the buffer",
         fmt::join(plan.spilled, ", "));
  plan.predicted = predicted_traffic(network, plan.schedule, plan.rules);
  return plan;
}

}  // namespace mbs
