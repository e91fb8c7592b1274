#include "wavecore/machine.h"

#include <algorithm>
#include <cmath>

#include "engine/check.h"

namespace mbs {
namespace {

constexpr int kMostUnits = 1 << 16;  // a side of the array; keeps every count far inside of 64 bits
constexpr int kMostTileRows = 1 << 24;

void whole(const char* key, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most) fail("'{}' is {}; it must be from {} to {}", key, value, least, most);
}

void positive(const std::string& key, double value) {
  if (!(value > 0) || !std::isfinite(value)) fail("'{}' is {}; it must be positive", key, value);
}

void not_negative(const std::string& key, double value) {
  if (!(value >= 0) || !std::isfinite(value)) fail("'{}' is {}; it must not be negative", key, value);
}

void holds(const char* key, int64_t bytes, int64_t tile_bytes, const char* tile) {
  if (bytes < tile_bytes)
    fail("'{}' is {} bytes, below one tile: {} = {} bytes", key, bytes, tile, tile_bytes);
}

void check_buffers(const Machine& m) {
  // Without a limit of rows, a buffer still holds one row.
  const int64_t rows = std::max(m.tile_rows, 1);
  const int64_t a_bytes = rows * m.array_rows * kOperandBytes;
  const int64_t b_bytes = int64_t{m.array_rows} * m.array_cols * kOperandBytes;
  holds("local_a_bytes", m.local_a_bytes, a_bytes, "tile_rows x array_rows x 2");
  holds("local_b_bytes", m.local_b_bytes, b_bytes, "array_rows x array_cols x 2");
  holds("accumulator_bytes", m.accumulator_bytes, rows * m.array_cols * kSumBytes,
        "tile_rows x array_cols x 4");
  holds("global_buffer_bytes", m.global_buffer_bytes, a_bytes + b_bytes + rows * m.array_cols * kOperandBytes,
        "2 (tile_rows x array_rows + array_rows x array_cols + tile_rows x array_cols)");
}

void check_energies(const Machine& m) {
  not_negative("mac_pj", m.mac_pj);
  not_negative("local_buffer_pj_per_byte", m.local_buffer_pj_per_byte);
  not_negative("accumulator_pj_per_byte", m.accumulator_pj_per_byte);
  not_negative("vector_pj_per_elem", m.vector_pj_per_elem);
  not_negative("static_w", m.static_w);
  if (m.global_buffer_energy.empty()) fail("'global_buffer_energy' needs at least one size");
  int64_t last_bytes = 0;
  for (size_t i = 0; i < m.global_buffer_energy.size(); ++i) {
    const auto& [bytes, pj_per_byte] = m.global_buffer_energy[i];
    if (bytes <= last_bytes)
      fail("'global_buffer_energy[{}].bytes' is {}; the sizes must be positive and ascend", i, bytes);
    positive(fmt::format("global_buffer_energy[{}].value", i), pj_per_byte);
    last_bytes = bytes;
  }
}

}  // namespace

double Machine::global_buffer_pj_per_byte(int64_t bytes) const {
  const auto& sizes = global_buffer_energy;
  CHECK(!sizes.empty() && bytes > 0, "{} sizes, a buffer of {} bytes", sizes.size(), bytes);
  if (sizes.size() == 1) return sizes.front().pj_per_byte;
  size_t upper = 1;
  while (upper + 1 < sizes.size() && sizes[upper].bytes <= bytes) ++upper;
  const BufferEnergy &a = sizes[upper - 1], &b = sizes[upper];
  const auto ratio = [](int64_t x, int64_t y) {
    return std::log(static_cast<double>(x) / static_cast<double>(y));
  };
  const double slope = std::log(b.pj_per_byte / a.pj_per_byte) / ratio(b.bytes, a.bytes);
  return a.pj_per_byte * std::exp(slope * ratio(bytes, a.bytes));
}

void validate(const Machine& m) {
  whole("chip_cores", m.chip_cores, 1, kMostUnits);
  whole("array_rows", m.array_rows, 1, kMostUnits);
  whole("array_cols", m.array_cols, 1, kMostUnits);
  whole("tile_rows", m.tile_rows, 0, kMostTileRows);
  positive("clock_ghz", m.clock_ghz);
  not_negative("vector_elems_per_cycle", m.vector_elems_per_cycle);
  positive("memory.gib_per_s", m.memory.gib_per_s);
  not_negative("memory.pj_per_bit", m.memory.pj_per_bit);
  not_negative("memory.static_w", m.memory.static_w);
  positive("memory.efficiency", m.memory.efficiency);
  if (m.memory.efficiency > 1)
    fail("'memory.efficiency' is {}; it is a share of the peak, at most 1", m.memory.efficiency);
  check_buffers(m);
  check_energies(m);
}

}  // namespace mbs
