// Getting the archives of CIFAR: by curl, resumed where a transfer was cut, verified by sha256sum.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace mbs {

/// An archive to get.
struct Download {
  std::string file;    ///< name that it is kept under
  std::string url;     ///< anything that curl takes
  std::string sha256;  ///< expected, 64 hexadecimal digits
  int64_t bytes = 0;   ///< expected; 0: unknown
};

/// Gets the archive into `dir` (made where missing), unless a whole one is there, and returns its path. It is
/// written to FILE.part, which a later call resumes, and gets its name when its checksum is right; else it
/// becomes FILE.bad. Prints curl's progress bar to stderr. Error: no curl, no connection, a wrong checksum
/// (expected and actual).
std::filesystem::path fetch(const Download&, const std::filesystem::path& dir);

/// The same from a file of this machine: copied, then verified.
std::filesystem::path adopt(const Download&, const std::filesystem::path& file,
                            const std::filesystem::path& dir);

/// `mbs data get NAME [FILE]`: brings cifar10 or cifar100 to where load_dataset finds it. `file`: a local
/// archive, or empty to download from CIFAR10_URL / CIFAR100_URL (environment) or else from its author's
/// page. `dir` empty: "data". Returns the path of the archive. Usage error: a data set that is not
/// downloaded; says where it comes from instead.
std::filesystem::path get_dataset(const std::string& name, const std::filesystem::path& dir,
                                  const std::filesystem::path& file);

}  // namespace mbs
