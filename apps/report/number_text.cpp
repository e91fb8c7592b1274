#include "apps/report/number_text.h"

#include <fmt/format.h>

#include <algorithm>

namespace mbs {

std::string to_text(const Table& table) {
  std::vector<size_t> widths;
  for (const std::string& cell : table.header) widths.push_back(cell.size());
  for (const auto& row : table.rows)
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  std::string out;
  const auto add = [&](const std::vector<std::string>& row) {
    for (size_t c = 0; c < row.size(); ++c)
      out += c == 0 ? fmt::format("{:<{}}", row[c], widths[c]) : fmt::format("  {:>{}}", row[c], widths[c]);
    out.erase(out.find_last_not_of(' ') + 1);
    out += '\n';
  };
  add(table.header);
  for (const auto& row : table.rows) add(row);
  return out;
}

std::string to_csv(const Table& table) {
  std::string out;
  const auto add = [&](const std::vector<std::string>& row) {
    for (size_t c = 0; c < row.size(); ++c) {
      if (c > 0) out += ',';
      if (row[c].find_first_of(",\"\n") == std::string::npos) {
        out += row[c];
        continue;
      }
      out += '"';
      for (const char ch : row[c]) out += ch == '"' ? std::string("\"\"") : std::string(1, ch);
      out += '"';
    }
    out += '\n';
  };
  add(table.header);
  for (const auto& row : table.rows) add(row);
  return out;
}

std::string decimal_bytes(int64_t bytes) {
  const auto b = static_cast<double>(bytes);
  if (b >= 1e9) return fmt::format("{:.2f} GB", b / 1e9);
  if (b >= 1e6) return fmt::format("{:.1f} MB", b / 1e6);
  if (b >= 1e3) return fmt::format("{:.1f} kB", b / 1e3);
  return fmt::format("{} B", bytes);
}

std::string binary_bytes(int64_t bytes) {
  const auto b = static_cast<double>(bytes);
  if (b >= 0x1p30) return fmt::format("{:.4g} GiB", b / 0x1p30);
  if (b >= 0x1p20) return fmt::format("{:.4g} MiB", b / 0x1p20);
  if (b >= 0x1p10) return fmt::format("{:.4g} KiB", b / 0x1p10);
  return fmt::format("{} B", bytes);
}

std::string time_left(double share, double seconds) {
  return share > 0 ? duration(seconds * (1 - share) / share) : "?";
}

std::string duration(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

std::string percent(double share) { return fmt::format("{:.2f} %", 100 * share); }

std::string thousands(int64_t n) {
  const std::string digits = std::to_string(n);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string decimals(const std::vector<double>& values) {
  std::vector<std::string> texts;
  for (const double value : values) texts.push_back(fmt::format("{:.4f}", value));
  return joined(texts, " ");
}

}  // namespace mbs
