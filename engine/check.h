// Errors. What a user can get wrong throws Error, caught once in main(). What only we can get wrong is a
// CHECK, which aborts in every build.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace mbs {

/// Why a command could not be done; decides the exit code.
enum class ErrorKind {
  failed,  ///< a run, a file or a machine failed: exit code 1
  usage,   ///< the command was put wrongly: exit code 2
};

/// The one exception type of the program. The message says what is wrong, where, and what to do.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ErrorKind kind = ErrorKind::failed)
      : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

/// Throws Error of kind `failed`; arguments as for fmt::format.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) {
  throw Error(fmt::format(text, std::forward<Args>(args)...));
}

/// Throws Error of kind `usage`; arguments as for fmt::format.
template <class... Args>
[[noreturn]] void fail_usage(fmt::format_string<Args...> text, Args&&... args) {
  throw Error(fmt::format(text, std::forward<Args>(args)...), ErrorKind::usage);
}

namespace detail {
[[noreturn]] void check_failed(const char* file, int line, const char* condition, const std::string& message);
}

}  // namespace mbs

/// CHECK(condition, "format", args...): a broken promise of our own code; prints it and aborts.
#define CHECK(condition, ...)                                                                                \
  do {                                                                                                       \
    if (!(condition)) ::mbs::detail::check_failed(__FILE__, __LINE__, #condition, fmt::format(__VA_ARGS__)); \
  } while (false)
