#include "apps/training/safetensors.h"

#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/check.h"

namespace mbs {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

using Json = nlohmann::json;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
constexpr size_t kPieceBytes = size_t{1} << 20;    // read at a time

int64_t dtype_bytes(const std::string& dtype) {
  if (dtype == "F16" || dtype == "BF16") return 2;
  if (dtype == "F32") return 4;
  if (dtype == "F64" || dtype == "I64") return 8;
  return 0;
}

/// The checksum of what `before` is that of, followed by `bytes`.
uint32_t checksum(uint32_t before, std::span<const std::byte> bytes) {
  if (bytes.empty()) return before;  // zlib begins anew where there is no address
  return static_cast<uint32_t>(
      crc32_z(before, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

std::string checksum_text(uint32_t checksum) { return fmt::format("{:08x}", checksum); }

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

/// Reads one value of a dtype.
using LoadReal = double (*)(const std::byte* at);
LoadReal load_real(const std::string& dtype) {
  if (dtype == "F64") return [](const std::byte* at) { return load<double>(at); };
  if (dtype == "F32") return [](const std::byte* at) { return double{load<float>(at)}; };
  if (dtype == "BF16")
    return
        [](const std::byte* at) { return double{std::bit_cast<float>(uint32_t{load<uint16_t>(at)} << 16)}; };
  if (dtype == "F16") return [](const std::byte* at) { return double{from_half(load<uint16_t>(at))}; };
  fail("a tensor of {} holds no real numbers", dtype);
}

int64_t data_bytes(const SafeTensors& head) {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : head.tensors) bytes += tensor.bytes();
  return bytes;
}

}  // namespace

int64_t SafeTensor::elems() const {
  int64_t n = 1;
  for (const int64_t dim : shape) n *= dim;
  return n;
}

int64_t SafeTensor::bytes() const { return elems() * dtype_bytes(dtype); }

SafeTensorsWriter::SafeTensorsWriter(const std::string& path, SafeTensors head)
    : head_(std::move(head)),
      left_(data_bytes(head_)),
      file_(path, head_text().size() + static_cast<size_t>(left_)) {
  // The checksum in it is not the right one yet, but as long.
  file_.append(std::as_bytes(std::span<const char>(head_text())));
}

// The length of the header and the header.
std::string SafeTensorsWriter::head_text() const {
  Json header = Json::object();
  int64_t begin = 0;
  for (const auto& [name, tensor] : head_.tensors) {
    const int64_t end = begin + tensor.bytes();
    header[name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
    begin = end;
  }
  header["__metadata__"] = head_.metadata;
  header["__metadata__"]["crc32"] = checksum_text(checksum_);
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text;
}

void SafeTensorsWriter::add(std::span<const std::byte> bytes) {
  left_ -= static_cast<int64_t>(bytes.size());
  CHECK(left_ >= 0, "{} bytes more than the tensors have", -left_);
  checksum_ = checksum(checksum_, bytes);
  file_.append(bytes);
}

void SafeTensorsWriter::commit() {
  CHECK(left_ == 0, "{} bytes less than the tensors have", left_);
  file_.overwrite_begin(std::as_bytes(std::span<const char>(head_text())));
  file_.commit();
}

SafeTensorsReader::SafeTensorsReader(const std::string& path)
    : path_(path), file_(std::fopen(path.c_str(), "rbe")) {
  struct stat status {};
  if (!file_ || ::fstat(::fileno(file_.get()), &status) != 0)
    fail("{} cannot be opened: {}", path, std::strerror(errno));
  file_bytes_ = static_cast<uint64_t>(status.st_size);
  if (file_bytes_ < 8) fail("{} has {} bytes: not a safetensors file, or cut off", path, file_bytes_);
  uint64_t header_bytes = 0;
  read_bytes(0, std::as_writable_bytes(std::span(&header_bytes, 1)));
  const bool possible =
      header_bytes > 0 && header_bytes <= kMaxHeaderBytes && header_bytes <= file_bytes_ - 8;
  std::string text(possible ? header_bytes : 0, '\0');
  read_bytes(8, std::as_writable_bytes(std::span(text)));
  if (!text.starts_with('{'))
    fail("{} has {} bytes and states a header of {}: not a safetensors file, or cut off", path, file_bytes_,
         header_bytes);
  data_begin_ = 8 + header_bytes;
  parse_head(text);
  const auto stated = head_.metadata.find("crc32");
  if (stated == head_.metadata.end()) return;
  const std::string actual = checksum_text(data_checksum());
  if (stated->second != actual)
    fail("{}: the checksum of the data is {}, expected {}: damaged", path, actual, stated->second);
}

// Fills head_ and begins_.
void SafeTensorsReader::parse_head(const std::string& text) {
  const Json header = parse_header(text, path_);
  const uint64_t data_bytes = file_bytes_ - data_begin_;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name != "__metadata__") {
      entries.push_back(parse_entry(path_, name, value, data_bytes));
      continue;
    }
    if (!value.is_object()) fail("{}: __metadata__ is not an object: damaged", path_);
    for (const auto& [key, entry] : value.items()) {
      if (!entry.is_string()) fail("{}: __metadata__ '{}' is not a text: damaged", path_, key);
      head_.metadata[key] = entry.get<std::string>();
    }
  }
  check_cover(path_, entries, data_bytes);
  for (const Entry& entry : entries) {
    head_.tensors[entry.name] = {entry.dtype, entry.shape};
    begins_[entry.name] = data_begin_ + entry.begin;
  }
}

void SafeTensorsReader::read_bytes(uint64_t at, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t n = ::pread(::fileno(file_.get()), bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("{} cannot be read: {}", path_, std::strerror(errno));
    if (n == 0) fail("{} was cut off at byte {} while it was read", path_, at);
    at += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

uint32_t SafeTensorsReader::data_checksum() const {
  std::vector<std::byte> piece(kPieceBytes);
  uint32_t sum = 0;
  for (uint64_t at = data_begin_; at < file_bytes_; at += piece.size()) {
    piece.resize(std::min(piece.size(), static_cast<size_t>(file_bytes_ - at)));
    read_bytes(at, piece);
    sum = checksum(sum, piece);
  }
  return sum;
}

void SafeTensorsReader::read(const std::string& name, int64_t first, std::span<double> values) const {
  const SafeTensor& tensor = head_.tensors.at(name);
  CHECK(first >= 0 && first + static_cast<int64_t>(values.size()) <= tensor.elems(), "{} values of {} at {}",
        values.size(), tensor.elems(), first);
  const LoadReal load = load_real(tensor.dtype);
  const auto size = static_cast<size_t>(dtype_bytes(tensor.dtype));
  std::vector<std::byte> bytes(values.size() * size);
  read_bytes(begins_.at(name) + static_cast<uint64_t>(first) * size, bytes);
  for (size_t i = 0; i < values.size(); ++i) values[i] = load(bytes.data() + i * size);
}

}  // namespace mbs
