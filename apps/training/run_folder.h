// runs/NAME/: config.toml, plan.json, log.jsonl, summary.csv, last.safetensors, best.safetensors; runs/latest
// links to the newest.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

namespace mbs {

/// Makes the folder `wanted`, or wanted-2, wanted-3, ... where it exists: a run is never overwritten. Points
/// `latest` beside it to it. Returns its path. Error: it cannot be made.
std::string create_run_folder(const std::string& wanted);

/// The folder of a run that is named by its path, its name under runs/, a file in it, or "last". Error
/// (usage): there is none.
std::string find_run(const std::string& name);

/// A text file that grows line by line.
class GrowingFile {
 public:
  /// Keeps the first `keep_bytes` of what is there, drops the rest. Error: it cannot be opened.
  GrowingFile(const std::string& path, int64_t keep_bytes);

  /// Appends a line and hands it to the system. Error: the disk is full.
  void add(const std::string& line);
  int64_t bytes() const { return bytes_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
  int64_t bytes_;
};

}  // namespace mbs
