#include "engine/spec.h"

#include <charconv>
#include <sstream>

#include "engine/check.h"

namespace mbs {
namespace {

template <class T>
bool parse_number(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

Spec Spec::parse(std::string_view text) {
  Spec spec;
  spec.text_ = text;
  std::istringstream words(spec.text_);
  if (!(words >> spec.layer_)) fail_usage("empty layer specification: give a layer name, as in 'relu'");
  for (std::string word; words >> word;) {
    const size_t eq = word.find('=');
    if (eq == std::string::npos || eq == 0)
      fail_usage("layer '{}': '{}' is not of the form key=value", spec.text_, word);
    if (!spec.values_.emplace(word.substr(0, eq), word.substr(eq + 1)).second)
      fail_usage("layer '{}': key '{}' is given twice", spec.text_, word.substr(0, eq));
  }
  return spec;
}

const std::string* Spec::find(const std::string& key) const {
  known_[key] = true;
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

int Spec::required_int(const std::string& key, int min) const {
  if (find(key) == nullptr) fail_usage("layer '{}': key '{}' is missing", text_, key);
  return int_or(key, min, min);
}

int Spec::int_or(const std::string& key, int fallback, int min) const {
  const std::string* value = find(key);
  if (value == nullptr) return fallback;
  int number = 0;
  if (!parse_number(*value, number) || number < min)
    fail_usage("layer '{}': {}={} must be an integer of at least {}", text_, key, *value, min);
  return number;
}

double Spec::number_or(const std::string& key, double fallback, double min, double max) const {
  const std::string* value = find(key);
  if (value == nullptr) return fallback;
  double number = 0;
  if (!parse_number(*value, number) || !(number >= min && number <= max))
    fail_usage("layer '{}': {}={} must be a number in [{}, {}]", text_, key, *value, min, max);
  return number;
}

Extent Spec::required_extent(const std::string& key, int min) const {
  if (find(key) == nullptr) fail_usage("layer '{}': key '{}' is missing", text_, key);
  return extent_or(key, {}, min);
}

Extent Spec::extent_or(const std::string& key, Extent fallback, int min) const {
  const std::string* value = find(key);
  if (value == nullptr) return fallback;
  const std::string_view text = *value;
  const size_t x = text.find('x');
  Extent extent;
  const bool ok = x == std::string_view::npos ? parse_number(text, extent.h) && ((extent.w = extent.h), true)
                                              : parse_number(text.substr(0, x), extent.h) &&
                                                    parse_number(text.substr(x + 1), extent.w);
  if (!ok || extent.h < min || extent.w < min)
    fail_usage("layer '{}': {}={} must be N or HxW with numbers of at least {}", text_, key, *value, min);
  return extent;
}

void Spec::finish() const {
  for (const auto& [key, value] : values_) {
    if (known_.contains(key)) continue;
    std::string keys;
    for (const auto& [k, unused] : known_) keys += (keys.empty() ? "" : ", ") + k;
    fail_usage("layer '{}': unknown key '{}'; '{}' knows {}", text_, key, layer_,
               keys.empty() ? "no keys" : keys);
  }
}

}  // namespace mbs
