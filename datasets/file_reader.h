// Reading data files, compressed or not.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace mbs {

/// 30730000 -> "30,730,000".
std::string with_commas(int64_t n);

/// A file read from its beginning to its end; gzip is unpacked on the way, other files are read as they are.
class FileReader {
 public:
  /// `hint`: what the user should do about a bad file, the end of every error message.
  FileReader(const std::filesystem::path&, std::string hint);

  /// Fills `out`, or less at the end of the file; returns the bytes read. Error: damaged or cut off gzip.
  size_t read(std::span<uint8_t> out);
  /// The next `bytes` bytes. Memory grows with what is there, not with what is asked for. Error: the file
  /// ends first; `what` names the bytes.
  std::vector<uint8_t> take(int64_t bytes, const std::string& what);
  /// Reads on to the end (and so verifies a gzip checksum); returns how many bytes there were.
  int64_t drain();

  /// Throws Error "FILE: message; hint".
  [[noreturn]] void fail_with(const std::string& message) const;

 private:
  struct Close {
    void operator()(void* file) const;
  };
  std::string name_, hint_;
  std::unique_ptr<void, Close> file_;  // gzFile
};

}  // namespace mbs
