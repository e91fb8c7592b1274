#include "apps/report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/report/number_text.h"
#include "engine/check.h"

namespace mbs {
namespace {

std::string number_text(double value, Unit unit) {
  switch (unit) {
    case Unit::count:
      return thousands(std::llround(value));
    case Unit::traffic:
      return decimal_bytes(std::llround(value));
    case Unit::buffer:
      return binary_bytes(std::llround(value));
    case Unit::seconds:
      return fmt::format("{:.2f} ms", value * 1e3);
    case Unit::joules:
      return fmt::format("{:.3f} J", value);
    case Unit::share:
      return fmt::format("{:.1f} %", value * 100);
    case Unit::microseconds:
      return fmt::format("{:.2f} us", value * 1e6);
    case Unit::tiny:
      return fmt::format("{:.1e}", value);
    case Unit::rate:
      return fmt::format("{:.1f}", value);
    case Unit::ratio:
    case Unit::text:
      break;
  }
  return fmt::format("{:.3f}", value);
}

std::string bare(const Cell& cell) {
  struct Write {
    std::string operator()(std::monostate) const { return ""; }
    std::string operator()(const std::string& text) const { return text; }
    std::string operator()(int64_t n) const { return std::to_string(n); }
    std::string operator()(double x) const { return fmt::format("{}", x); }
  };
  return std::visit(Write{}, cell);
}

nlohmann::ordered_json value(const Cell& cell) {
  return std::visit(
      [](const auto& v) -> nlohmann::ordered_json {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::monostate>)
          return nullptr;
        else
          return v;
      },
      cell);
}

Table written(const DataTable& table, bool for_reading) {
  Table out;
  for (const Column& column : table.columns) out.header.push_back(for_reading ? column.title : column.key);
  for (const std::vector<Cell>& row : table.rows) {
    CHECK(row.size() == table.columns.size(), "table {}: {} cells in {} columns", table.name, row.size(),
          table.columns.size());
    out.rows.emplace_back();
    for (size_t c = 0; c < row.size(); ++c)
      out.rows.back().push_back(for_reading ? cell_text(row[c], table.columns[c].unit) : bare(row[c]));
  }
  return out;
}

}  // namespace

std::string cell_text(const Cell& cell, Unit unit) {
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  if (const auto* n = std::get_if<int64_t>(&cell)) {
    if (unit == Unit::count) return thousands(*n);
    return unit == Unit::text ? std::to_string(*n) : number_text(static_cast<double>(*n), unit);
  }
  if (const auto* x = std::get_if<double>(&cell)) return number_text(*x, unit);
  return "-";
}

std::string to_text(const DataTable& table) {
  std::string out = table.title + "\n\n" + to_text(written(table, true));
  if (!table.notes.empty()) out += '\n';
  for (const std::string& note : table.notes) out += "  " + note + '\n';
  return out;
}

DataTable select(const DataTable& table, const std::string& title, const std::vector<std::string>& keys) {
  DataTable chosen{table.name, title, table.notes, {}, {}};
  chosen.rows.resize(table.rows.size());
  for (const std::string& key : keys) {
    const auto found = std::find_if(table.columns.begin(), table.columns.end(),
                                    [&](const Column& column) { return column.key == key; });
    CHECK(found != table.columns.end(), "table {} has no column {}", table.name, key);
    chosen.columns.push_back(*found);
    const auto c = static_cast<size_t>(found - table.columns.begin());
    for (size_t r = 0; r < table.rows.size(); ++r) chosen.rows[r].push_back(table.rows[r][c]);
  }
  return chosen;
}

std::string to_csv(const DataTable& table) { return to_csv(written(table, false)); }

nlohmann::ordered_json to_json(const DataTable& table) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const std::vector<Cell>& row : table.rows) {
    nlohmann::ordered_json object;
    for (size_t c = 0; c < row.size(); ++c) object[table.columns[c].key] = value(row[c]);
    rows.push_back(std::move(object));
  }
  return {{"title", table.title}, {"notes", table.notes}, {"rows", std::move(rows)}};
}

}  // namespace mbs
