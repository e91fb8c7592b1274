// Files that are replaced as a whole or not at all.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace mbs {

/// A file that is written piece by piece to a temporary file beside `path`; commit() brings it to the disk,
/// and only then gives it its name. Without commit(), or after an error, the temporary file is gone and what
/// was at `path` is untouched. Every member throws Error where the system fails (a full disk).
class AtomicFile {
 public:
  /// `bytes`: how many there will be, for the message of an error.
  AtomicFile(const std::string& path, size_t bytes);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void append(std::span<const std::byte> piece);
  /// Writes over the first bytes of what was appended.
  void overwrite_begin(std::span<const std::byte> piece);
  void commit();

 private:
  [[noreturn]] void fail_with(int error);
  void discard();

  std::string path_, temporary_;
  size_t bytes_;
  int file_ = -1;  // -1: there is no temporary file
};

/// The same for a text at hand.
void replace_file(const std::string& path, const std::string& text);

}  // namespace mbs
