// Tables of figures: one set of values for reading (text), for spreadsheets (CSV) and for programs (JSON).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <variant>
#include <vector>

namespace mbs {

/// How the values of a column are written in text. CSV and JSON have the bare number.
enum class Unit : uint8_t {
  text,
  count,         ///< 1,234,567
  traffic,       ///< bytes, 1 GB = 1e9
  buffer,        ///< bytes, 1 MiB = 2^20
  seconds,       ///< as milliseconds
  microseconds,  ///< seconds as microseconds
  joules,
  share,  ///< as percent
  ratio,  ///< three decimals
  tiny,   ///< two digits and an exponent
  rate,   ///< one decimal, without a unit: the title names it
};

/// A value; monostate: there is none (`-` in text, empty in CSV, null in JSON).
using Cell = std::variant<std::monostate, std::string, int64_t, double>;

struct Column {
  std::string key;    ///< in CSV and JSON: "step_seconds"
  std::string title;  ///< in text: "step"
  Unit unit = Unit::text;
};

struct DataTable {
  std::string name;                ///< of its file and in JSON: "buffers"
  std::string title;               ///< one line
  std::vector<std::string> notes;  ///< what a reader must know; below the table
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  ///< each as long as `columns`
};

std::string to_text(const DataTable& table);
std::string to_csv(const DataTable& table);
/// {"title", "notes", "rows": [{key: value}]}.
nlohmann::ordered_json to_json(const DataTable& table);

/// Some of the columns, by key and in this order, under another title.
DataTable select(const DataTable& table, const std::string& title, const std::vector<std::string>& keys);

/// A value as text prints it.
std::string cell_text(const Cell& cell, Unit unit);

}  // namespace mbs
