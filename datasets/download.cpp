#include "datasets/download.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "datasets/file_reader.h"
#include "datasets/process.h"
#include "engine/check.h"

namespace fs = std::filesystem;

namespace mbs {

namespace {

const std::vector<std::pair<std::string, Download>> kDownloads = {
    {"cifar10",
     {"cifar-10-binary.tar.gz", "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
      "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", 170052171}},
    {"cifar100",
     {"cifar-100-binary.tar.gz", "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
      "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec", 168513733}},
};

constexpr const char* kOfflineHint =
    "Fashion-MNIST works without a network: `mbs train --dataset fashion-mnist`";

fs::path with_suffix(const fs::path& path, const char* suffix) { return path.string() + suffix; }

int64_t bytes_of(const fs::path& path) {
  std::error_code missing;
  const auto bytes = fs::file_size(path, missing);
  return missing ? 0 : static_cast<int64_t>(bytes);
}

std::string sha256_of(const fs::path& path) {
  // By stdin, so that no file name is ever taken for an option or printed in escaped form.
  const ProcessResult result = run_process({"sha256sum"}, path);
  if (result.status != 0 || result.output.size() < 64) fail("{}: sha256sum failed", path.string());
  return result.output.substr(0, 64);
}

std::string describe_mismatch(const Download& download, const fs::path& path, const std::string& actual) {
  const int64_t bytes = bytes_of(path);
  std::string size = with_commas(bytes) + " bytes";
  if (download.bytes > 0 && bytes != download.bytes) size += ", expected " + with_commas(download.bytes);
  return fmt::format("{}: not the file that was expected: sha256 {}, expected {} ({})", path.string(), actual,
                     download.sha256, size);
}

void rename_file(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) fail("{}: cannot be renamed to {}: {}", from.string(), to.string(), error.message());
}

/// Gives `part` its name if its checksum is right; else keeps it as .bad, out of the way of the next try.
fs::path accept(const Download& download, const fs::path& part, const fs::path& target) {
  if (!fs::is_regular_file(part)) fail("{}: nothing arrived; try again", part.string());
  const std::string actual = sha256_of(part);
  if (actual == download.sha256) {
    rename_file(part, target);
    return target;
  }
  const std::string message = describe_mismatch(download, part, actual);
  const fs::path bad = with_suffix(target, ".bad");
  rename_file(part, bad);
  fail("{}; kept as {}, the next try starts anew", message, bad.string());
}

void run_curl(const Download& download, const fs::path& part) {
  std::vector<std::string> command = {"curl",       "-fL", "--retry",           "5",  "--retry-all-errors",
                                      "-C",         "-",   "--connect-timeout", "20", "-o",
                                      part.string()};
  if (isatty(STDERR_FILENO) != 0) {
    command.push_back("--progress-bar");
  } else {
    command.insert(command.end(), {"--silent", "--show-error"});
  }
  command.insert(command.end(), {"--", download.url});
  const int status = run_process(command).status;
  if (status == 0) return;
  // curl(1), EXIT CODES: 33 is a server that cannot resume.
  if (status == 33) {
    fail("{}: this server cannot resume; remove {} and try again", download.url, part.string());
  }
  fail("{}: download failed (curl exit status {}), {} bytes are kept in {}; the same command resumes. {}",
       download.url, status, with_commas(bytes_of(part)), part.string(), kOfflineHint);
}

void make_folder(const fs::path& dir) {
  std::error_code error;
  fs::create_directories(dir, error);
  if (error)
    fail("{}: this folder cannot be made: {}; choose another by --data-dir", dir.string(), error.message());
}

}  // namespace

fs::path fetch(const Download& download, const fs::path& dir) {
  make_folder(dir);
  const fs::path target = dir / download.file, part = with_suffix(target, ".part");
  if (fs::exists(target)) {
    if (sha256_of(target) == download.sha256) return target;
    // A cut transfer under its final name, from a browser perhaps: go on from there.
    rename_file(target, part);
  }
  const bool complete = download.bytes > 0 && bytes_of(part) >= download.bytes;
  if (!complete) run_curl(download, part);
  return accept(download, part, target);
}

fs::path adopt(const Download& download, const fs::path& file, const fs::path& dir) {
  if (!fs::is_regular_file(file)) fail("{}: no such file; give the archive {}", file.string(), download.file);
  const std::string actual = sha256_of(file);
  if (actual != download.sha256) fail("{}; get it anew", describe_mismatch(download, file, actual));
  make_folder(dir);
  const fs::path target = dir / download.file, part = with_suffix(target, ".part");
  if (fs::exists(target) && fs::equivalent(file, target)) return target;
  std::error_code error;
  fs::copy_file(file, part, fs::copy_options::overwrite_existing, error);
  if (error) fail("{}: cannot be copied to {}: {}", file.string(), part.string(), error.message());
  return accept(download, part, target);
}

fs::path get_dataset(const std::string& name, const fs::path& dir, const fs::path& file) {
  const auto known =
      std::find_if(kDownloads.begin(), kDownloads.end(), [&](const auto& d) { return d.first == name; });
  if (known == kDownloads.end()) {
    if (name == "fashion-mnist") {
      fail_usage("fashion-mnist is a Debian package: `apt-get install dataset-fashion-mnist`");
    }
    fail_usage("'{}' is nothing to download; `mbs data get` gets cifar10 and cifar100", name);
  }
  const fs::path folder = dir.empty() ? fs::path("data") : dir;
  Download download = known->second;
  if (!file.empty()) return adopt(download, file, folder);
  if (const char* url = std::getenv(name == "cifar10" ? "CIFAR10_URL" : "CIFAR100_URL")) download.url = url;
  return fetch(download, folder);
}

}  // namespace mbs
