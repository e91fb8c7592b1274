// A plan survives being written and read, and what is read is checked.
#include "engine/check.h"
#include "mbs/plan_json.h"
#include "tests/doctest.h"
#include "tests/mbs_networks.h"

using namespace mbs;
using namespace mbs::tests;
using Json = nlohmann::ordered_json;

namespace {

Plan example(const Network& net, Order order) {
  return make_plan(net, {order, 37, 200 << 10, traffic_rules("conservative")});
}

std::string refusal(const Network& net, const std::string& text) {
  try {
    plan_from_json(net, text);
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a plan written as JSON is read back the same") {
  const Network net = zoo_network("resnet8");
  for (const std::string& name : all_words<Order>()) {
    CAPTURE(name);
    const Plan plan = example(net, parse_word<Order>(name));
    const Json json = plan_to_json(net, plan);
    EXPECT(plan_from_json(net, json.dump(2)) == plan);
    EXPECT(json["network"] == "resnet8");
    EXPECT(json["order"] == name);
    EXPECT(json["batch_size"] == 37);
    EXPECT(json["buffer_bytes"] == 200 << 10);
    EXPECT(json["accounting"] == "conservative");
    EXPECT(json["dram_bytes_per_step"] == plan.predicted.total_bytes());
    int64_t sum = 0;
    for (const auto& bytes : json["dram_bytes_by_class"]) sum += bytes.get<int64_t>();
    EXPECT(sum == plan.predicted.total_bytes());
    EXPECT(json["groups"].size() == plan.groups.size());
    EXPECT(json["groups"][0]["blocks"][0] == "conv1");
    EXPECT(json["groups"][0]["sub_batch"] == plan.groups[0].sub_batch);
  }
}

TEST_CASE("hostile plans are refused with the name of the field") {
  const Network net = zoo_network("resnet8");
  const Json good = plan_to_json(net, example(net, Order::mbs2));
  EXPECT(has(refusal(net, ""), "not a JSON document"));
  EXPECT(has(refusal(net, good.dump().substr(0, 100)), "not a JSON document"));
  EXPECT(has(refusal(net, std::string(100000, '[')), "not a JSON document"));
  EXPECT(has(refusal(net, "[1, 2]"), "must be an object"));
  for (const auto& [key, value] : good.items()) {
    if (key == "dram_bytes_per_step" || key == "dram_bytes_by_class") continue;  // worked out anew
    CAPTURE(key);
    Json missing = good;
    missing.erase(key);
    EXPECT(has(refusal(net, missing.dump()), "'" + key + "' is missing"));
    for (const Json& wrong : {Json(nullptr), Json(true), Json(1.5), Json(-3), Json(uint64_t{1} << 63),
                              Json("?"), Json::array(), Json::object(), Json::array({1})}) {
      Json changed = good;
      changed[key] = wrong;
      const std::string message = refusal(net, changed.dump());
      CAPTURE(wrong.dump());
      // Any text may be the name of an accounting, either kind of network be meant, and nothing spills or is
      // kept here.
      const bool accepted = (key == "accounting" && wrong.is_string()) ||
                            (key == "fused" && wrong.is_boolean()) ||
                            ((key == "spilled" || key == "kept") && wrong == Json::array());
      EXPECT((message == "accepted") == accepted);
      if (!accepted) EXPECT((has(message, key) || has(message, "made for the network")));
    }
  }
}

TEST_CASE("a plan that does not fit the network is refused") {
  const Network net = zoo_network("resnet8");
  const Json good = plan_to_json(net, example(net, Order::mbs2));
  const auto changed = [&](const std::string& pointer, const Json& value) {
    Json json = good;
    json[Json::json_pointer(pointer)] = value;
    return refusal(net, json.dump());
  };
  EXPECT(has(refusal(zoo_network("resnet20"), good.dump()), "resnet8"));
  EXPECT(has(changed("/passes/0/first", "nothing"), "passes[0].first"));
  EXPECT(has(changed("/passes/0/first", "bn1"), "schedule"));
  EXPECT(has(changed("/passes/0/sub_batch", 38), "schedule"));
  EXPECT(has(changed("/passes/0/sub_batch", 0), "passes[0].sub_batch"));
  EXPECT(has(changed("/passes/0/phase", "sideways"), "forward, backward"));
  EXPECT(has(changed("/groups/0/first", 1), "groups[0].first"));
  EXPECT(has(changed("/groups/0/last", 99), "groups[0].last"));
  EXPECT(has(changed("/groups/0/iterations", 99), "groups[0].iterations"));
  EXPECT(has(changed("/batch_size", 2000000000), "batch_size"));
  Json short_groups = good;
  short_groups["groups"].erase(short_groups["groups"].size() - 1);
  EXPECT(refusal(net, short_groups.dump()) != "accepted");
}
