#include "apps/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

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

void replace_file(const std::string& path, std::span<const std::span<const std::byte>> parts) {
  const std::string temporary = fmt::format("{}.tmp-{}", path, ::getpid());
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  bool done = file >= 0;
  for (size_t i = 0; done && i < parts.size(); ++i) done = write_all(file, parts[i]);
  done = done && ::fsync(file) == 0;
  int error = errno;
  if (file >= 0 && ::close(file) != 0 && done) {
    done = false;
    error = errno;
  }
  if (done && std::rename(temporary.c_str(), path.c_str()) != 0) {
    done = false;
    error = errno;
  }
  if (!done) {
    if (file >= 0) ::unlink(temporary.c_str());
    size_t bytes = 0;
    std::error_code ignored;
    for (const auto& part : parts) bytes += part.size();
    fail("{}: {} bytes could not be written: {}; {}. Free some space or choose another folder with --out",
         path, bytes, std::strerror(error),
         std::filesystem::exists(path, ignored) ? "the file that was there is untouched"
                                                : "nothing was left behind");
  }
  const std::string folder = std::filesystem::path(path).parent_path().string();
  sync_folder(folder.empty() ? "." : folder);
}

void replace_file(const std::string& path, const std::string& text) {
  const std::span<const std::byte> part = std::as_bytes(std::span(text));
  replace_file(path, std::span(&part, 1));
}

}  // namespace mbs
