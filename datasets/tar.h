// Reading a tar archive (ustar; names of GNU and pax extensions are passed over) from front to back.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "datasets/file_reader.h"

namespace mbs {

/// Calls want(name, bytes) for every plain file; where it returns true, calls take(name, content).
/// Errors: as FileReader, and a header whose checksum is wrong.
void read_tar(FileReader&, const std::function<bool(const std::string& name, int64_t bytes)>& want,
              const std::function<void(const std::string& name, std::span<const uint8_t> content)>& take);

}  // namespace mbs
