// A child process that does one thing and answers in lines of JSON: so that its peak memory is its own, and
// that its death does not take the program with it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace mbs {

class ChildProcess {
 public:
  /// Forks: must be called before any thread was started. The child calls body(file), which answers through
  /// send_answer(file), and ends. What `body` throws becomes an answer, too. `name` leads error messages.
  ChildProcess(std::string name, const std::function<void(int answers)>& body);
  /// Waits for its end.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  const std::string& name() const { return name_; }
  /// The next answer. Error: what `body` threw, or that the process has died.
  nlohmann::json answer();

 private:
  std::string how_it_died();

  std::string name_;
  pid_t process_ = -1;
  std::FILE* answers_ = nullptr;
};

/// In the child: writes one answer.
void send_answer(int file, const nlohmann::json& json);

/// The most memory that this process has held so far.
int64_t peak_rss_bytes();

}  // namespace mbs
