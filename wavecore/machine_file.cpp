// Machines and memories as JSON: the presets, and files that users write.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <variant>

#include "engine/check.h"
#include "engine/words.h"
#include "wavecore/machine.h"
#include "wavecore/presets.h"

namespace mbs {
namespace {

using Json = nlohmann::ordered_json;

// One constant of T: its key, its unit, where it goes.
template <class T>
struct Constant {
  const char* key;
  const char* unit;
  std::variant<int T::*, int64_t T::*, double T::*> field;
};

const Constant<Machine> kMachineConstants[] = {
    {"chip_cores", "cores", &Machine::chip_cores},
    {"array_rows", "rows", &Machine::array_rows},
    {"array_cols", "columns", &Machine::array_cols},
    {"tile_rows", "rows", &Machine::tile_rows},
    {"clock_ghz", "GHz", &Machine::clock_ghz},
    {"global_buffer_bytes", "bytes", &Machine::global_buffer_bytes},
    {"local_a_bytes", "bytes", &Machine::local_a_bytes},
    {"local_b_bytes", "bytes", &Machine::local_b_bytes},
    {"accumulator_bytes", "bytes", &Machine::accumulator_bytes},
    {"vector_elems_per_cycle", "elements/cycle", &Machine::vector_elems_per_cycle},
    {"mac_pj", "pJ", &Machine::mac_pj},
    {"local_buffer_pj_per_byte", "pJ/byte", &Machine::local_buffer_pj_per_byte},
    {"accumulator_pj_per_byte", "pJ/byte", &Machine::accumulator_pj_per_byte},
    {"vector_pj_per_elem", "pJ/element", &Machine::vector_pj_per_elem},
    {"static_w", "W", &Machine::static_w},
};

const Constant<Memory> kMemoryConstants[] = {
    {"gib_per_s", "GiB/s", &Memory::gib_per_s},
    {"pj_per_bit", "pJ/bit", &Memory::pj_per_bit},
    {"static_w", "W", &Memory::static_w},
    {"efficiency", "1", &Memory::efficiency},
};

// A place in a document, so that a message can name it.
struct Place {
  const Json& json;
  const std::string& file;
  std::string path;  // "memory.gib_per_s"; empty: the document

  std::string name() const {
    return path.empty() ? file + ": the document" : fmt::format("{}: '{}'", file, path);
  }
  bool has(const std::string& key) const { return json.contains(key); }
  Place at(const std::string& key) const {
    const std::string inner = path.empty() ? key : path + "." + key;
    if (!json.contains(key)) fail("{}: '{}' is missing", file, inner);
    return {json[key], file, inner};
  }
  Place at(size_t i) const { return {json[i], file, fmt::format("{}[{}]", path, i)}; }

  /// Error: not an object, or one with another key than these.
  void require_object(const std::vector<std::string>& keys) const {
    if (!json.is_object()) fail("{} must be an object", name());
    for (const auto& [key, value] : json.items()) {
      if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
      fail("{} has no key '{}'{}", name(), key, nearest_hint(key, keys));
    }
  }
  std::string text() const {
    if (!json.is_string() || json.get<std::string>().empty())
      fail("{} must be a text that is not empty", name());
    return json.get<std::string>();
  }
  int64_t whole() const {
    const bool fits =
        json.is_number_integer() &&
        (!json.is_number_unsigned() || json.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()});
    if (!fits) fail("{} is {}; it must be a whole number", name(), json.dump());
    return json.get<int64_t>();
  }
  double number() const {
    if (!json.is_number()) fail("{} is {}; it must be a number", name(), json.dump());
    return json.get<double>();
  }
  void assign(int& field) const {
    const int64_t value = whole();
    if (value != static_cast<int>(value)) fail("{} is {}, which is too large", name(), value);
    field = static_cast<int>(value);
  }
  void assign(int64_t& field) const { field = whole(); }
  void assign(double& field) const { field = number(); }
};

/// Checks the unit and the source beside a value.
void check_origin(const Place& constant, const char* unit) {
  const std::string found = constant.at("unit").text();
  if (found != unit) fail("{} has the unit '{}'; it must be '{}'", constant.name(), found, unit);
  constant.at("source").text();
}

template <class T, size_t N>
void read_constants(const Place& place, const Constant<T> (&constants)[N], T& into) {
  for (const Constant<T>& constant : constants) {
    if (!place.has(constant.key))
      fail("{} lacks '{}': give it, or a \"base\" to take it from", place.name(), constant.key);
    const Place at = place.at(constant.key);
    at.require_object({"value", "unit", "source"});
    std::visit([&](auto field) { at.at("value").assign(into.*field); }, constant.field);
    check_origin(at, constant.unit);
  }
}

template <class T, size_t N>
std::vector<std::string> keys_of(const Constant<T> (&constants)[N], std::vector<std::string> more) {
  for (const Constant<T>& constant : constants) more.push_back(constant.key);
  return more;
}

Json presets(const char* text) { return Json::parse(text); }

std::vector<std::string> names_of(const char* text) {
  const Json all = presets(text);
  std::vector<std::string> names;
  for (const auto& [name, preset] : all.items()) names.push_back(name);
  return names;
}

/// "a, b, c".
std::string list_of(const char* text) {
  std::string list;
  for (const std::string& name : names_of(text)) list += (list.empty() ? "" : ", ") + name;
  return list;
}

/// The preset of this name. Error (usage): there is none; `where` leads the message.
Json preset(const char* text, const char* what, const std::string& name, const std::string& where = "") {
  const Json all = presets(text);
  if (!all.contains(name))
    fail_usage("{}there is no {} '{}'; there are: {}", where, what, name, list_of(text));
  return all[name];
}

/// `changes` on top of `base`, key by key.
Json merged(Json base, const Json& changes) {
  for (const auto& [key, value] : changes.items())
    if (key != "base") base[key] = value;
  return base;
}

/// A memory with all its constants: a preset's name, or an object that may have a base. `start` is the base
/// of one that names none.
Json expand_memory(const Place& place, const Json& start) {
  const auto named = [](const Place& name) {
    return preset(kMemoryPresets, "memory", name.text(), name.name() + ": ");
  };
  if (place.json.is_string()) return named(place);
  place.require_object(keys_of(kMemoryConstants, {"name", "base"}));
  Json memory = merged(place.has("base") ? named(place.at("base")) : start, place.json);
  if (!place.has("name")) memory["name"] = "custom";
  return memory;
}

/// A machine with all its constants.
Json expand_machine(const Json& json, const std::string& file) {
  const Place root{json, file, ""};
  root.require_object(keys_of(kMachineConstants, {"name", "base", "memory", "global_buffer_energy"}));
  Json base = Json::object();
  if (root.has("base")) {
    const Place name = root.at("base");
    base = expand_machine(preset(kMachinePresets, "machine", name.text(), name.name() + ": "), name.text());
  }
  Json machine = merged(base, json);
  if (root.has("memory"))
    machine["memory"] = expand_memory(root.at("memory"), base.value("memory", Json::object()));
  if (!root.has("name")) machine["name"] = file;
  return machine;
}

Memory read_memory(const Place& place) {
  Memory memory;
  memory.name = place.at("name").text();
  read_constants(place, kMemoryConstants, memory);
  return memory;
}

std::vector<BufferEnergy> read_buffer_energy(const Place& place) {
  if (!place.json.is_array()) fail("{} must be a list", place.name());
  std::vector<BufferEnergy> sizes;
  for (size_t i = 0; i < place.json.size(); ++i) {
    const Place size = place.at(i);
    size.require_object({"bytes", "value", "unit", "source"});
    sizes.push_back({size.at("bytes").whole(), size.at("value").number()});
    check_origin(size, "pJ/byte");
  }
  return sizes;
}

/// Reads a machine with all its constants.
Machine read_machine(const Json& json, const std::string& file) {
  const Place root{json, file, ""};
  Machine machine;
  machine.name = root.at("name").text();
  read_constants(root, kMachineConstants, machine);
  machine.memory = read_memory(root.at("memory"));
  machine.global_buffer_energy = read_buffer_energy(root.at("global_buffer_energy"));
  try {
    validate(machine);
  } catch (const Error& error) {
    fail("{}: {}", file, error.what());
  }
  return machine;
}

Json parse_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file.is_open() || file.bad())
    fail("{}: cannot be read; a machine is a JSON file or one of: {}", path, list_of(kMachinePresets));
  try {
    return Json::parse(text);
  } catch (const Json::exception& error) {
    fail("{}: not JSON: {}", path, error.what());
  }
}

/// The preset or the file, with all its constants.
Json document(const std::string& name_or_file) {
  const bool is_file = name_or_file.ends_with(".json") || name_or_file.find('/') != std::string::npos;
  return expand_machine(is_file ? parse_file(name_or_file) : preset(kMachinePresets, "machine", name_or_file),
                        name_or_file);
}

/// One constant a line.
std::string to_lines(const Json& json, const std::string& indent) {
  const bool constant = json.is_object() && json.contains("value");
  if (!json.is_structured() || constant) return json.dump();
  const std::string inner = indent + "  ";
  std::string out;
  for (const auto& [key, value] : json.items()) {
    out += (out.empty() ? "\n" : ",\n") + inner;
    if (json.is_object()) out += Json(key).dump() + ": ";
    out += to_lines(value, inner);
  }
  return (json.is_object() ? "{" : "[") + out + "\n" + indent + (json.is_object() ? "}" : "]");
}

}  // namespace

std::vector<std::string> machine_names() { return names_of(kMachinePresets); }
std::vector<std::string> memory_names() { return names_of(kMemoryPresets); }

Memory memory_preset(const std::string& name) {
  const Json json = preset(kMemoryPresets, "memory", name);
  return read_memory({json, name, ""});
}

Machine load_machine(const std::string& name_or_file) {
  return read_machine(document(name_or_file), name_or_file);
}

std::string machine_text(const std::string& name_or_file) {
  const Json json = document(name_or_file);
  read_machine(json, name_or_file);  // so that what is printed can be loaded
  return to_lines(json, "") + "\n";
}

}  // namespace mbs
