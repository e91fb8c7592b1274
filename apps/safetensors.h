// The safetensors format, read as if written by an enemy. A file is a little-endian u64 N, N bytes of JSON
// {"name": {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}, "__metadata__": {"key": "text"}},
// and one buffer that the offsets refer to, without holes and without overlap.
// (https://github.com/huggingface/safetensors, "Format")
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace mbs {

/// One tensor. Its bytes are row-major and little-endian.
struct SafeTensor {
  std::string dtype;  ///< F16 BF16 F32 F64 I64
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;

  int64_t elems() const;
};

/// A file in memory. Tensors are kept by name.
struct SafeTensors {
  std::map<std::string, SafeTensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// Writes through replace_file(); the checksum (CRC-32) of the buffer is added to the metadata as "crc32".
void write_safetensors(const std::string& path, const SafeTensors& file);

/// Error: the file is cut off, has a hole, an overlap, a duplicate or missing key, a wrong size, an unknown
/// dtype, or a checksum in its metadata that does not fit. The message names the file, and the tensor where
/// there is one.
SafeTensors read_safetensors(const std::string& path);

/// A tensor of `values` in the precision of the engine.
template <class Real>
SafeTensor make_tensor(std::span<const Real> values, std::vector<int64_t> shape);

/// The values of a tensor of any floating dtype. Error: I64.
std::vector<double> tensor_values(const SafeTensor& tensor);

}  // namespace mbs
