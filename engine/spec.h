// The one spelling of a layer: `conv2d out=64 kernel=3 stride=2 pad=1`. Network builders, events, failing
// tests and benchmarks all use it.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace mbs {

/// Height and width of something rectangular: a kernel, a stride, a padding.
struct Extent {
  int h = 0, w = 0;
  bool operator==(const Extent&) const = default;
};

/// A parsed layer specification: a layer name and key=value attributes.
///
/// Every getter marks its key as known; finish() throws a usage Error for a key that nobody asked for, naming
/// the known ones. All errors name the whole specification.
class Spec {
 public:
  /// Parses `name key=value ...`. Error: empty text, a word without '=', a key given twice.
  static Spec parse(std::string_view text);

  const std::string& layer() const { return layer_; }
  const std::string& text() const { return text_; }

  /// An integer of at least `min`; the first form is an Error when the key is absent.
  int required_int(const std::string& key, int min = 1) const;
  int int_or(const std::string& key, int fallback, int min = 0) const;
  /// A real number in [min, max].
  double number_or(const std::string& key, double fallback, double min, double max) const;
  /// `3` for 3x3, or `1x7` for height 1 and width 7; both at least `min`.
  Extent required_extent(const std::string& key, int min = 1) const;
  Extent extent_or(const std::string& key, Extent fallback, int min = 0) const;

  /// To be called after the last getter. Error: a key is left that no getter asked for.
  void finish() const;

 private:
  const std::string* find(const std::string& key) const;

  std::string text_, layer_;
  std::map<std::string, std::string> values_;
  mutable std::map<std::string, bool> known_;
};

}  // namespace mbs
