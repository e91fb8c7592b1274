#include "apps/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string_view>
#include <type_traits>

#include "apps/table.h"
#include "engine/check.h"
#include "engine/nearest.h"

namespace mbs {
namespace {

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::string flag_of(const OptionInfo& info) { return "--" + option_key(info); }

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

std::string toml_text(const std::string& v) {
  std::string out = "\"";
  for (const char c : v) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}
std::string toml_text(const std::vector<int>& v) { return fmt::format("[{}]", value_text(v)); }
template <class Scalar>
std::string toml_text(Scalar v) {
  return value_text(v);
}

/// Reads the values of one line.
class TomlLine {
 public:
  TomlLine(std::string_view text, std::string where) : text_(text), where_(std::move(where)) {}

  /// `key = value`, or an empty key for a line without one.
  std::pair<std::string, std::string> parse() {
    skip_space();
    if (at_end()) return {};
    const size_t start = at_;
    while (at_ < text_.size() &&
           (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '-' || text_[at_] == '_'))
      ++at_;
    std::string key(text_.substr(start, at_ - start));
    std::replace(key.begin(), key.end(), '_', '-');
    skip_space();
    if (key.empty() || !take('=')) fail_usage("{}: expected `key = value`", where_);
    std::string value = parse_value();
    skip_space();
    if (!at_end()) fail_usage("{}: text after the value of '{}': '{}'", where_, key, text_.substr(at_));
    return {key, value};
  }

 private:
  bool at_end() const { return at_ >= text_.size() || text_[at_] == '#'; }
  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\r").find(text_[at_]) != std::string_view::npos) ++at_;
  }
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  std::string parse_value() {
    skip_space();
    if (!take('[')) return parse_scalar();
    std::string list;
    for (skip_space(); !take(']'); skip_space()) {
      if (!list.empty()) {
        if (!take(','))
          fail_usage("{}: expected ',' or ']' in the list (lists are written on one line)", where_);
        list += ',';
        skip_space();
      }
      list += parse_scalar();
    }
    return list;
  }

  std::string parse_scalar() {
    if (at_ < text_.size() && (text_[at_] == '"' || text_[at_] == '\'')) return parse_string(text_[at_++]);
    const size_t start = at_;
    while (at_ < text_.size() && std::string_view(" \t\r#,]").find(text_[at_]) == std::string_view::npos)
      ++at_;
    std::string word(text_.substr(start, at_ - start));
    char* end = nullptr;
    std::strtod(word.c_str(), &end);
    const bool number = !word.empty() && *end == '\0';
    if (!number && word != "true" && word != "false")
      fail_usage("{}: '{}' is not a number, true, false, a list, or a text in quotes", where_, word);
    return word;
  }

  std::string parse_string(char quote) {
    std::string out;
    for (; at_ < text_.size() && text_[at_] != quote; ++at_) {
      if (quote == '"' && text_[at_] == '\\') {
        if (++at_ >= text_.size() || (text_[at_] != '"' && text_[at_] != '\\'))
          fail_usage("{}: only \\\" and \\\\ are understood in a text in double quotes", where_);
      }
      out += text_[at_];
    }
    if (!take(quote)) fail_usage("{}: the text has no closing quote", where_);
    return out;
  }

  std::string_view text_;
  std::string where_;
  size_t at_ = 0;
};

}  // namespace

std::string option_key(const OptionInfo& info) {
  const std::string_view names(info.names);
  return std::string(names.substr(2, names.find(',') - 2));
}

void check_value(const OptionInfo& info, double value) {
  if (!(value >= info.min && value <= info.max))
    fail_usage("{} is {}; it must be between {} and {}", flag_of(info), value, info.min, info.max);
}

void check_value(const OptionInfo& info, const std::string& value) {
  const std::string choices = info.choices;
  if (choices.empty()) return;
  std::vector<std::string> known;
  for (size_t begin = 0; begin <= choices.size();) {
    const size_t end = std::min(choices.find('|', begin), choices.size());
    known.push_back(choices.substr(begin, end - begin));
    begin = end + 1;
  }
  if (std::find(known.begin(), known.end(), value) == known.end())
    fail_usage("{} is '{}'; it must be one of: {}", flag_of(info), value, joined(known, ", "));
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
      fail_usage("{}: there is no option '{}'; the nearest is '{}'", setting.where, setting.key,
                 nearest(setting.key, keys));
    visit_train_options(options, [&](const OptionInfo& info, auto& field) {
      if (option_key(info) == setting.key) read_value(setting, field);
    });
  }
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
  Settings settings;
  std::set<std::string> seen;
  int line = 0;
  for (size_t begin = 0; begin < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string where = fmt::format("{}:{}", path, line + 1);
    const auto [key, value] = TomlLine(std::string_view(text).substr(begin, end - begin), where).parse();
    begin = end + 1;
    if (key.empty()) continue;
    if (!seen.insert(key).second) fail_usage("{}: '{}' is given twice", where, key);
    settings.push_back({key, value, where});
  }
  return settings;
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
batch-size = 128
lr = 0.2
lr-schedule = "onecycle"
epochs = 30
momentum = 0.9
nesterov = true
weight-decay = 5e-4
wd-norm = false
label-smoothing = 0.2
aug = "standard"
pad = 2
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
