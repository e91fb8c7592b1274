// Files that are replaced as a whole or not at all.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace mbs {

/// Writes `parts` one after the other to a temporary file beside `path`, brings it to the disk, and only then
/// gives it its name. Error: any of that failed (a full disk); the temporary file is gone and what was at
/// `path` is untouched.
void replace_file(const std::string& path, std::span<const std::span<const std::byte>> parts);
void replace_file(const std::string& path, const std::string& text);

}  // namespace mbs
