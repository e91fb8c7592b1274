// Running another program, without a shell.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace mbs {

/// The result of a program.
struct ProcessResult {
  int status;          ///< exit status; 128 + signal if a signal ended it
  std::string output;  ///< what it wrote to stdout
};

/// Runs arguments[0], found in PATH, and waits for it. Its stdin is the file `input`, or empty; stderr is
/// ours. Error: the program or the input is not there.
ProcessResult run_process(const std::vector<std::string>& arguments,
                          const std::filesystem::path& input = "/dev/null");

}  // namespace mbs
