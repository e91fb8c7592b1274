// Small tables as text and as CSV, and numbers as people read them.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mbs {

struct Table {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;  ///< each as long as the header
};

/// Columns side by side: the first one to the left, the others to the right. Ends with a newline.
std::string to_text(const Table& table);

/// RFC 4180: a cell with a comma, a quote or a newline is quoted.
std::string to_csv(const Table& table);

/// 12345678 -> "12.3 MB" (1 MB = 1e6 bytes, as traffic is counted).
std::string decimal_bytes(int64_t bytes);
/// 10485760 -> "10 MiB" (as buffers are counted).
std::string binary_bytes(int64_t bytes);
/// 3700 -> "1:01:40".
std::string duration(double seconds);
/// How long the rest takes where `share` of it took `seconds`; "?" before there is a share.
std::string time_left(double share, double seconds);
/// 0.9251 -> "92.51 %".
std::string percent(double share);
/// 1234567 -> "1,234,567".
std::string thousands(int64_t n);
/// {0.286, 0.353} -> "0.2860 0.3530".
std::string decimals(const std::vector<double>& values);

/// All values as text, `between` between them. (fmt::join does this too, but draws false warnings from
/// GCC 12.)
template <class Range>
std::string joined(const Range& values, std::string_view between) {
  std::string out;
  for (const auto& value : values) {
    if (!out.empty()) out += between;
    out += fmt::format("{}", value);
  }
  return out;
}

}  // namespace mbs
