// A safetensors file as a value: what tests compare, change and make up.
#pragma once

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "apps/training/safetensors.h"
#include "tests/helpers.h"

namespace mbs {

struct FileTensor {
  SafeTensor head;
  Bytes bytes;
};

struct SafeTensorsFile {
  std::map<std::string, FileTensor> tensors;
  std::map<std::string, std::string> metadata;
};

template <class Real>
FileTensor make_tensor(const std::vector<Real>& values, std::vector<int64_t> shape) {
  Bytes bytes(values.size() * sizeof(Real));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return {{dtype_of<Real>(), std::move(shape)}, bytes};
}

inline void write_safetensors(const std::string& path, const SafeTensorsFile& file) {
  SafeTensors head{{}, file.metadata};
  for (const auto& [name, tensor] : file.tensors) head.tensors[name] = tensor.head;
  SafeTensorsWriter writer(path, head);
  for (const auto& [name, tensor] : file.tensors) writer.add(std::as_bytes(std::span(tensor.bytes)));
  writer.commit();
}

inline std::vector<double> tensor_values(const SafeTensorsReader& file, const std::string& name) {
  std::vector<double> values(static_cast<size_t>(file.tensors().at(name).elems()));
  file.read(name, 0, values);
  return values;
}

/// Tensors lie one after the other, in the order of their names, at the end of a file that we wrote.
inline SafeTensorsFile read_safetensors(const std::string& path) {
  const SafeTensorsReader reader(path);
  const Bytes whole = read_whole(path);
  SafeTensorsFile file{{}, reader.metadata()};
  size_t data = 0;
  for (const auto& [name, head] : reader.tensors()) data += static_cast<size_t>(head.bytes());
  auto at = whole.end() - static_cast<std::ptrdiff_t>(data);
  for (const auto& [name, head] : reader.tensors()) {
    file.tensors[name] = {head, {at, at + head.bytes()}};
    at += head.bytes();
  }
  return file;
}

}  // namespace mbs
