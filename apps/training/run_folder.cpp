#include "apps/training/run_folder.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "engine/check.h"

namespace mbs {
namespace {

namespace fs = std::filesystem;

/// Replaces the link in one step, so that there is always one. A file system without links has none: the run
/// goes on.
void point_latest_to(const fs::path& folder) {
  const fs::path link = folder.parent_path() / "latest";
  const fs::path temporary = folder.parent_path() / ("latest.tmp-" + std::to_string(::getpid()));
  std::error_code error;
  if (fs::exists(link, error) && !fs::is_symlink(link, error)) return;
  fs::create_directory_symlink(folder.filename(), temporary, error);
  if (!error) fs::rename(temporary, link, error);
}

}  // namespace

std::string create_run_folder(const std::string& wanted) {
  std::error_code error;
  fs::path base = fs::path(wanted).lexically_normal();
  if (!base.has_filename()) base = base.parent_path();
  if (base.has_parent_path()) fs::create_directories(base.parent_path(), error);
  for (int n = 1; !error && n < 100000; ++n) {
    const fs::path folder = n == 1 ? base : fs::path(fmt::format("{}-{}", base.string(), n));
    if (!fs::create_directory(folder, error)) continue;
    point_latest_to(folder);
    return folder.string();
  }
  fail("the run folder {} cannot be made: {}; choose another with --out", base.string(), error.message());
}

std::string find_run(const std::string& name) {
  std::error_code error;
  const fs::path candidates[] = {fs::path(name), fs::path("runs") / (name == "last" ? "latest" : name)};
  for (fs::path path : candidates) {
    if (fs::is_regular_file(path, error)) path = path.parent_path();
    if (path.empty() || !fs::exists(path / "config.toml", error)) continue;
    return fs::is_symlink(path, error) ? (path.parent_path() / fs::read_symlink(path)).string()
                                       : path.string();
  }
  fail_usage("there is no run '{}': neither {} nor {} holds a config.toml", name, candidates[0].string(),
             candidates[1].string());
}

GrowingFile::GrowingFile(const std::string& path, int64_t keep_bytes) : path_(path), bytes_(keep_bytes) {
  file_.reset(std::fopen(path.c_str(), "ab"));
  if (!file_) fail("{} cannot be opened: {}", path, std::strerror(errno));
  std::error_code error;
  if (static_cast<int64_t>(fs::file_size(path, error)) < keep_bytes)
    fail("{} is shorter than when the checkpoint was written ({} bytes); was it edited?", path, keep_bytes);
  fs::resize_file(path, static_cast<uintmax_t>(keep_bytes), error);
  if (error) fail("{} cannot be cut to {} bytes: {}", path, keep_bytes, error.message());
}

void GrowingFile::add(const std::string& line) {
  const std::string text = line + "\n";
  if (std::fwrite(text.data(), 1, text.size(), file_.get()) != text.size() || std::fflush(file_.get()) != 0)
    fail("{} could not be written: {}", path_, std::strerror(errno));
  bytes_ += static_cast<int64_t>(text.size());
}

}  // namespace mbs
