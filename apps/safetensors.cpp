#include "apps/safetensors.h"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "apps/atomic_file.h"
#include "apps/config.h"
#include "engine/check.h"

namespace mbs {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

using Json = nlohmann::json;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation

int64_t dtype_bytes(const std::string& dtype) {
  if (dtype == "F16" || dtype == "BF16") return 2;
  if (dtype == "F32") return 4;
  if (dtype == "F64" || dtype == "I64") return 8;
  return 0;
}

uint32_t checksum(std::span<const std::byte> bytes) {
  return static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

/// Parses the header; a key that occurs twice in an object is an error, which the parser alone would not say.
Json parse_header(const std::string& text, const std::string& path) {
  std::vector<std::set<std::string>> keys;
  std::string twice;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    const auto level = static_cast<size_t>(depth);
    if (event == Json::parse_event_t::object_start) {
      keys.resize(std::max(keys.size(), level + 1));
      keys[level].clear();
    }
    if (event == Json::parse_event_t::key && level >= 1) {
      const auto key = value.get<std::string>();
      if (!keys[level - 1].insert(key).second) twice = key;
    }
    return true;
  };
  Json header = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (header.is_discarded() || !header.is_object())
    fail("{}: the header is not JSON: not a safetensors file, or damaged", path);
  if (!twice.empty()) fail("{}: the header has '{}' twice: damaged", path, twice);
  return header;
}

struct Entry {
  std::string name, dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;
};

bool is_count(const Json& value) {
  return value.is_number_unsigned() && value.get<uint64_t>() < (uint64_t{1} << 62);
}

Entry parse_entry(const std::string& path, const std::string& name, const Json& value,
                  uint64_t buffer_bytes) {
  const auto bad = [&](const char* what) { fail("{}: tensor '{}': {}: damaged", path, name, what); };
  if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets"))
    bad("it needs dtype, shape and data_offsets");
  const Json &dtype = value["dtype"], &shape = value["shape"], &offsets = value["data_offsets"];
  Entry entry{.name = name, .dtype = dtype.is_string() ? dtype.get<std::string>() : "", .shape = {}};
  const int64_t size = dtype_bytes(entry.dtype);
  if (size == 0)
    fail("{}: tensor '{}': dtype {} is not one of F16, BF16, F32, F64, I64", path, name, dtype.dump());
  if (!shape.is_array() || !offsets.is_array() || offsets.size() != 2 || !is_count(offsets[0]) ||
      !is_count(offsets[1]))
    bad("shape and data_offsets are not lists of counts");
  entry.begin = offsets[0].get<uint64_t>();
  entry.end = offsets[1].get<uint64_t>();
  if (entry.begin > entry.end || entry.end > buffer_bytes) bad("its data lies outside the file");
  auto bytes = static_cast<uint64_t>(size);
  for (const Json& dim : shape) {
    if (!is_count(dim)) bad("its shape is not a list of counts");
    const auto n = dim.get<uint64_t>();
    if (n > 0 && bytes > buffer_bytes / n) bad("its shape is larger than the file");
    bytes *= n;
    entry.shape.push_back(dim.get<int64_t>());
  }
  if (bytes != entry.end - entry.begin) bad("its shape does not fit its number of bytes");
  return entry;
}

void check_cover(const std::string& path, std::vector<Entry>& entries, uint64_t buffer_bytes) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t at = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != at)
      fail("{}: tensor '{}' starts at byte {} of the data, expected {}: {}: damaged", path, entry.name,
           entry.begin, at, entry.begin < at ? "an overlap" : "a hole");
    at = entry.end;
  }
  if (at != buffer_bytes) fail("{}: {} bytes of data belong to no tensor: damaged", path, buffer_bytes - at);
}

void check_checksum(const std::string& path, const SafeTensors& file, std::span<const std::byte> buffer) {
  const auto stated = file.metadata.find("crc32");
  if (stated == file.metadata.end()) return;
  const std::string actual = fmt::format("{:08x}", checksum(buffer));
  if (stated->second != actual)
    fail("{}: the checksum of the data is {}, expected {}: damaged", path, actual, stated->second);
}

float from_half(uint16_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31u, fraction = bits & 1023u;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (fraction << 13));
  if (exponent == 0) return (sign != 0 ? -1.0f : 1.0f) * static_cast<float>(fraction) * 0x1p-24f;
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
}

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

}  // namespace

int64_t SafeTensor::elems() const {
  int64_t n = 1;
  for (const int64_t dim : shape) n *= dim;
  return n;
}

void write_safetensors(const std::string& path, const SafeTensors& file) {
  Json header = Json::object();
  std::vector<std::byte> buffer;
  for (const auto& [name, tensor] : file.tensors) {
    CHECK(static_cast<int64_t>(tensor.bytes.size()) == tensor.elems() * dtype_bytes(tensor.dtype),
          "tensor {}: {} bytes do not fit its shape", name, tensor.bytes.size());
    const size_t begin = buffer.size();
    buffer.insert(buffer.end(), tensor.bytes.begin(), tensor.bytes.end());
    header[name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, buffer.size()}}};
  }
  auto metadata = file.metadata;
  metadata["crc32"] = fmt::format("{:08x}", checksum(buffer));
  header["__metadata__"] = metadata;

  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  const std::span<const std::byte> parts[] = {std::as_bytes(std::span(&length, 1)),
                                              std::as_bytes(std::span(text)), buffer};
  replace_file(path, parts);
}

SafeTensors read_safetensors(const std::string& path) {
  const std::string text = read_text_file(path);
  if (text.size() < 8) fail("{} has {} bytes: not a safetensors file, or cut off", path, text.size());
  const auto header_bytes = load<uint64_t>(reinterpret_cast<const std::byte*>(text.data()));
  if (header_bytes > kMaxHeaderBytes || header_bytes > text.size() - 8 || header_bytes == 0 || text[8] != '{')
    fail("{} has {} bytes and states a header of {}: not a safetensors file, or cut off", path, text.size(),
         header_bytes);
  const auto buffer = std::as_bytes(std::span(text)).subspan(8 + header_bytes);
  const Json header = parse_header(text.substr(8, header_bytes), path);

  SafeTensors file;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name != "__metadata__") {
      entries.push_back(parse_entry(path, name, value, buffer.size()));
      continue;
    }
    if (!value.is_object()) fail("{}: __metadata__ is not an object: damaged", path);
    for (const auto& [key, entry] : value.items()) {
      if (!entry.is_string()) fail("{}: __metadata__ '{}' is not a text: damaged", path, key);
      file.metadata[key] = entry.get<std::string>();
    }
  }
  check_cover(path, entries, buffer.size());
  check_checksum(path, file, buffer);
  for (const Entry& entry : entries) {
    const auto bytes = buffer.subspan(entry.begin, entry.end - entry.begin);
    file.tensors[entry.name] = {entry.dtype, entry.shape, {bytes.begin(), bytes.end()}};
  }
  return file;
}

template <class Real>
SafeTensor make_tensor(std::span<const Real> values, std::vector<int64_t> shape) {
  const auto bytes = std::as_bytes(values);
  return {sizeof(Real) == 4 ? "F32" : "F64", std::move(shape), {bytes.begin(), bytes.end()}};
}
template SafeTensor make_tensor(std::span<const float>, std::vector<int64_t>);
template SafeTensor make_tensor(std::span<const double>, std::vector<int64_t>);

std::vector<double> tensor_values(const SafeTensor& tensor) {
  std::vector<double> values(static_cast<size_t>(tensor.elems()));
  const std::byte* at = tensor.bytes.data();
  const auto size = static_cast<size_t>(dtype_bytes(tensor.dtype));
  for (size_t i = 0; i < values.size(); ++i, at += size) {
    if (tensor.dtype == "F64")
      values[i] = load<double>(at);
    else if (tensor.dtype == "F32")
      values[i] = load<float>(at);
    else if (tensor.dtype == "BF16")
      values[i] = std::bit_cast<float>(uint32_t{load<uint16_t>(at)} << 16);
    else if (tensor.dtype == "F16")
      values[i] = from_half(load<uint16_t>(at));
    else
      fail("a tensor of {} holds no real numbers", tensor.dtype);
  }
  return values;
}

}  // namespace mbs
