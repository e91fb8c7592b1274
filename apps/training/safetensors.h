// The safetensors format, read as if written by an enemy. A file is a little-endian u64 N, N bytes of JSON
// {"name": {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}, "__metadata__": {"key": "text"}},
// and one buffer that the offsets refer to, without holes and without overlap.
// (https://github.com/huggingface/safetensors, "Format")
//
// Files are written and read piece by piece: a network's weights are never in memory a second time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "apps/system/atomic_file.h"

namespace mbs {

/// What a file says of one tensor. Its values are row-major and little-endian.
struct SafeTensor {
  std::string dtype;  ///< F16 BF16 F32 F64 I64
  std::vector<int64_t> shape;

  int64_t elems() const;
  int64_t bytes() const;
};

/// The dtype of float and of double.
template <class Real>
constexpr const char* dtype_of() {
  return sizeof(Real) == 4 ? "F32" : "F64";
}

/// A file but for its data. Tensors are kept by name.
struct SafeTensors {
  std::map<std::string, SafeTensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// Writes a file through AtomicFile; the checksum (CRC-32) of the data is added to the metadata as "crc32".
class SafeTensorsWriter {
 public:
  SafeTensorsWriter(const std::string& path, SafeTensors head);

  /// The next bytes of the data: all tensors' one after the other, in the order of their names.
  void add(std::span<const std::byte> bytes);
  /// After the last byte; without it there is no file.
  void commit();

 private:
  std::string head_text() const;

  SafeTensors head_;
  int64_t left_;  // bytes of data to come
  uint32_t checksum_ = 0;
  AtomicFile file_;
};

/// An open file.
class SafeTensorsReader {
 public:
  /// Reads it once from end to end. Error: it is cut off, has a hole, an overlap, a duplicate or missing key,
  /// a wrong size, an unknown dtype, or a checksum in its metadata that does not fit. The message names the
  /// file, and the tensor where there is one.
  explicit SafeTensorsReader(const std::string& path);

  const std::string& path() const { return path_; }
  const std::map<std::string, SafeTensor>& tensors() const { return head_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return head_.metadata; }

  /// Values [first, first + values.size()) of a tensor of any floating dtype. Error: I64.
  void read(const std::string& name, int64_t first, std::span<double> values) const;

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  void read_bytes(uint64_t at, std::span<std::byte> bytes) const;  // `at`: in the file
  void parse_head(const std::string& text);
  uint32_t data_checksum() const;

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
  uint64_t file_bytes_ = 0, data_begin_ = 0;
  SafeTensors head_;
  std::map<std::string, uint64_t> begins_;  // where each tensor's data begin in the file
};

}  // namespace mbs
