#include "apps/system/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "engine/check.h"

namespace mbs {
namespace {

/// Writes everything or says why not in errno.
bool write_all(int file, std::span<const std::byte> part) {
  while (!part.empty()) {
    const ssize_t n = ::write(file, part.data(), part.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    part = part.subspan(static_cast<size_t>(n));
  }
  return true;
}

/// A rename survives a crash once its folder is on the disk. Some file systems cannot do this; then there is
/// nothing more to do.
void sync_folder(const std::string& folder) {
  const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return;
  ::fsync(file);
  ::close(file);
}

}  // namespace

AtomicFile::AtomicFile(const std::string& path, size_t bytes)
    : path_(path), temporary_(fmt::format("{}.tmp-{}", path, ::getpid())), bytes_(bytes) {
  file_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file_ < 0) fail_with(errno);
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::append(std::span<const std::byte> piece) {
  if (!write_all(file_, piece)) fail_with(errno);
}

void AtomicFile::overwrite_begin(std::span<const std::byte> piece) {
  if (::lseek(file_, 0, SEEK_SET) != 0 || !write_all(file_, piece) || ::lseek(file_, 0, SEEK_END) < 0)
    fail_with(errno);
}

void AtomicFile::commit() {
  if (::fsync(file_) != 0) fail_with(errno);
  const bool closed = ::close(std::exchange(file_, -1)) == 0;
  if (!closed || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary_.c_str());
    fail_with(error);
  }
  const std::string folder = std::filesystem::path(path_).parent_path().string();
  sync_folder(folder.empty() ? "." : folder);
}

void AtomicFile::discard() {
  if (file_ < 0) return;
  ::close(std::exchange(file_, -1));
  ::unlink(temporary_.c_str());
}

void AtomicFile::fail_with(int error) {
  discard();
  std::error_code ignored;
  fail("{}: {} bytes could not be written: {}; {}. Free some space or choose another folder with --out",
       path_, bytes_, std::strerror(error),
       std::filesystem::exists(path_, ignored) ? "the file that was there is untouched"
                                               : "nothing was left behind");
}

void replace_file(const std::string& path, const std::string& text) {
  AtomicFile file(path, text.size());
  file.append(std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace mbs
