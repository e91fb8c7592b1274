#include "apps/options/settings.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <string_view>
#include <type_traits>

#include "apps/report/number_text.h"
#include "engine/check.h"
#include "engine/words.h"

namespace mbs {
namespace {

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::string flag_of(const OptionInfo& info) { return "--" + option_key(info); }

/// What stands in front of an error.
std::string before(const std::string& where) { return where.empty() ? "" : where + ": "; }

std::string value_text(const std::string& v) { return v; }
std::string value_text(const std::vector<int>& v) { return joined(v, ","); }
template <class Scalar>
std::string value_text(Scalar v) {
  return fmt::format("{}", v);
}

template <class Number>
void read_number(const Setting& setting, std::string_view text, Number& field) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), field);
  if (error != std::errc() || end != text.data() + text.size())
    fail_usage("{}: {} = {} is not {}", setting.where, setting.key, text,
               std::is_floating_point_v<Number> ? "a number" : "a whole number");
}

template <class Number>
void read_value(const Setting& setting, Number& field) {
  read_number(setting, setting.value, field);
}
void read_value(const Setting& setting, std::string& field) { field = setting.value; }
void read_value(const Setting& setting, bool& field) {
  if (setting.value != "true" && setting.value != "false")
    fail_usage("{}: {} = {} is neither true nor false", setting.where, setting.key, setting.value);
  field = setting.value == "true";
}
void read_value(const Setting& setting, std::vector<int>& field) {
  field.clear();
  const std::string_view text(setting.value);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    read_number(setting, text.substr(begin, end - begin), field.emplace_back());
    begin = end + 1;
  }
}

template <class Field>
void check(const OptionInfo& info, const Field& field, const std::string& where) {
  if constexpr (std::is_same_v<Field, std::string>)
    check_value(info, field, where);
  else if constexpr (std::is_arithmetic_v<Field> && !std::is_same_v<Field, bool>)
    check_value(info, static_cast<double>(field), where);
}

std::string toml_text(const std::string& v) {
  std::ostringstream out;
  out << toml::toml_formatter{toml::value{v}, toml::format_flags::none};
  return out.str();
}
std::string toml_text(const std::vector<int>& v) { return fmt::format("[{}]", value_text(v)); }
template <class Scalar>
std::string toml_text(Scalar v) {
  return value_text(v);
}

/// A value of a TOML file as it stands after a flag. `setting` has key and place.
std::string flag_text(const toml::node& node, const Setting& setting) {
  if (const auto text = node.value_exact<std::string>()) return *text;
  if (const auto flag = node.value_exact<bool>()) return value_text(*flag);
  if (const auto whole = node.value_exact<int64_t>()) return value_text(*whole);
  if (const auto number = node.value_exact<double>()) return value_text(*number);
  if (!node.is_array())
    fail_usage("{}: '{}' is not a number, true, false, a text in quotes or a list of those", setting.where,
               setting.key);
  std::vector<std::string> values;
  for (const toml::node& element : *node.as_array()) {
    if (element.is_array()) fail_usage("{}: '{}' is a list of lists", setting.where, setting.key);
    values.push_back(flag_text(element, setting));
  }
  return joined(values, ",");
}

}  // namespace

std::string option_key(const OptionInfo& info) {
  const std::string_view names(info.names);
  return std::string(names.substr(2, names.find(',') - 2));
}

void check_value(const OptionInfo& info, double value, const std::string& where) {
  if (!(value >= info.min && value <= info.max))
    fail_usage("{}{} is {}; it must be between {} and {}", before(where), flag_of(info), value, info.min,
               info.max);
}

void check_value(const OptionInfo& info, const std::string& value, const std::string& where) {
  const std::string choices = info.choices;
  if (choices.empty()) return;
  std::vector<std::string> known;
  for (size_t begin = 0; begin <= choices.size();) {
    const size_t end = std::min(choices.find('|', begin), choices.size());
    known.push_back(choices.substr(begin, end - begin));
    begin = end + 1;
  }
  if (std::find(known.begin(), known.end(), value) == known.end())
    fail_usage("{}{} is '{}'; it must be one of: {}", before(where), flag_of(info), value,
               joined(known, ", "));
}

int64_t parse_bytes(const std::string& text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit(trim(std::string_view(end, static_cast<size_t>(text.data() + text.size() - end))));
  double scale = 0;
  for (const auto& [name, factor] :
       {std::pair{"", 1.}, {"B", 1.}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}})
    if (unit == name) scale = factor;
  const double bytes = number * scale;
  if (error != std::errc() || !(bytes >= 1 && bytes < 0x1p50))
    fail_usage("'{}' is not a size; write for example 10MiB, 512KiB, 1GiB or 1000000 (bytes)", text);
  return static_cast<int64_t>(bytes);
}

void apply_settings(const Settings& settings, TrainOptions& options) {
  std::vector<std::string> keys;
  visit_train_options(options,
                      [&](const OptionInfo& info, const auto&) { keys.push_back(option_key(info)); });
  for (const Setting& setting : settings) {
    if (std::find(keys.begin(), keys.end(), setting.key) == keys.end())
      fail_usage("{}: there is no option '{}'{}", setting.where, setting.key,
                 nearest_hint(setting.key, keys));
    visit_train_options(options, [&](const OptionInfo& info, auto& field) {
      if (option_key(info) == setting.key) {
        read_value(setting, field);
        check(info, field, setting.where);
      }
    });
  }
}

void apply_below_flags(const Parser& flags, Settings settings, TrainOptions& options) {
  const std::vector<OptionText> known = flags.options();
  std::erase_if(settings, [&](const Setting& setting) {
    const std::string flag = "--" + setting.key;
    const bool exists = std::any_of(known.begin(), known.end(), [&](const OptionText& option) {
      return std::find(option.flags.begin(), option.flags.end(), flag) != option.flags.end();
    });
    return exists && flags.given(flag);
  });
  apply_settings(settings, options);
}

Settings settings_of(const TrainOptions& options) {
  TrainOptions copy = options;
  Settings settings;
  visit_train_options(copy, [&](const OptionInfo& info, const auto& field) {
    settings.push_back({option_key(info), value_text(field), "options"});
  });
  return settings;
}

std::string to_toml(const TrainOptions& options, const std::string& comment) {
  TrainOptions copy = options;
  std::string out = "# " + comment + "\n";
  visit_train_options(copy, [&](const OptionInfo& info, const auto& field) {
    out += option_key(info) + " = " + toml_text(field) + "\n";
  });
  return out;
}

Settings parse_toml(const std::string& text, const std::string& path) {
  const auto where = [&](const toml::source_region& source) {
    return fmt::format("{}:{}", path, source.begin.line);
  };
  try {
    const toml::table table = toml::parse(text);
    std::map<toml::source_position, Setting> by_place;  // a table is sorted by name
    for (const auto& [name, node] : table) {
      Setting setting{std::string(name.str()), "", where(name.source())};
      std::replace(setting.key.begin(), setting.key.end(), '_', '-');
      setting.value = flag_text(node, setting);
      by_place[name.source().begin] = setting;
    }
    std::set<std::string> seen;
    Settings settings;
    for (const auto& [place, setting] : by_place) {
      if (!seen.insert(setting.key).second) fail_usage("{}: '{}' is given twice", setting.where, setting.key);
      settings.push_back(setting);
    }
    return settings;
  } catch (const toml::parse_error& error) {
    fail_usage("{}: {}; a line is `key = value`, texts stand in quotes", where(error.source()),
               error.description());
  }
}

std::string read_text_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in.is_open()) fail("{} cannot be opened: {}", path, std::strerror(errno));
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (in.bad()) fail("{} cannot be read: {}", path, std::strerror(errno));
  return text;
}

Settings recipe(const std::string& name) {
  // he2016: 64,000 updates of 128 of the 45,000 images that are left to train on, the learning rate divided
  // by 10 after 32,000 and 48,000. 45,000 / 128 = 351 updates an epoch, so epochs 182, 91 and 137.
  static const std::map<std::string, const char*> texts = {{"he2016", R"(
batch-size = 128
lr = 0.1
lr-schedule = "step"
milestones = [91, 137]
warmup = 0
epochs = 182
momentum = 0.9
nesterov = false
weight-decay = 1e-4
wd-norm = true
label-smoothing = 0
aug = "standard"
pad = 4
flip = true
)"},
                                                           {"fast", R"(
batch-size = 64
lr = 0.1
lr-schedule = "onecycle"
epochs = 30
momentum = 0.9
nesterov = true
weight-decay = 2e-4
wd-norm = true
label-smoothing = 0
aug = "standard"
pad = 4
pad-mode = "reflect"
flip = true
)"},
                                                           {"demo", R"(
arch = "resnet8"
limit-train = 10000
epochs = 3
batch-size = 128
lr = 0.2
lr-schedule = "onecycle"
aug = "standard"
)"}};
  const auto found = texts.find(name);
  if (found == texts.end()) fail_usage("--recipe is '{}'; it must be one of: he2016, fast, demo", name);
  return parse_toml(found->second, "recipe " + name);
}

}  // namespace mbs
