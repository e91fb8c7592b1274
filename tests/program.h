// The program as its users meet it: a process with arguments, output and an exit code. Needs MBS_PROGRAM,
// which `make run-tests` sets.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/doctest.h"
#include "tests/helpers.h"

namespace mbs {

/// What a run of the program came to.
struct Result {
  int code = -1;
  std::string out;  // both streams
};

/// The program's absolute path, or "" with a plain statement.
inline std::string program() {
  const char* path = std::getenv("MBS_PROGRAM");
  if (path != nullptr && std::filesystem::exists(path)) return std::filesystem::absolute(path);
  DOCTEST_MESSAGE("skipped: MBS_PROGRAM does not name the program (make run-tests sets it)");
  return "";
}

/// Runs the program in `folder`. Where a line begins with `interrupt_at`, sends it SIGINT, once.
inline Result run(const TempFolder& folder, std::vector<std::string> arguments,
                  const std::string& interrupt_at = "", bool with_errors = true) {
  static const std::string path = program();
  int ends[2];
  if (::pipe(ends) != 0) return {};
  const pid_t child = ::fork();
  if (child == 0) {
    if (::chdir(folder.path().c_str()) != 0) ::_exit(99);
    ::dup2(ends[1], 1);
    if (with_errors) ::dup2(ends[1], 2);
    ::close(ends[0]);
    ::close(ends[1]);
    arguments.insert(arguments.begin(), path);
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    ::execv(path.c_str(), pointers.data());
    ::_exit(98);
  }
  ::close(ends[1]);
  std::FILE* output = ::fdopen(ends[0], "r");
  Result result;
  std::string line;
  bool sent = interrupt_at.empty();
  for (int c = std::fgetc(output); c != EOF; c = std::fgetc(output)) {
    line += static_cast<char>(c);
    if (c != '\n') continue;
    if (!sent && line.starts_with(interrupt_at)) {
      ::kill(child, SIGINT);
      sent = true;
    }
    result.out += line;
    line.clear();
  }
  result.out += line;
  std::fclose(output);
  int status = 0;
  ::waitpid(child, &status, 0);
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace mbs
