#include "apps/system/child_process.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <new>

#include "engine/check.h"

namespace mbs {
namespace {

using Json = nlohmann::json;

int live(const std::function<void(int)>& body, int answers) {
  try {
    body(answers);
    return 0;
  } catch (const Error& error) {
    send_answer(answers, {{"error", error.what()}, {"usage", error.kind() == ErrorKind::usage}});
  } catch (const std::bad_alloc&) {
    send_answer(answers, {{"error", "out of memory"}, {"usage", false}});
  }
  return 1;
}

}  // namespace

ChildProcess::ChildProcess(std::string name, const std::function<void(int answers)>& body)
    : name_(std::move(name)) {
  int ends[2];
  if (::pipe(ends) != 0) fail("a process for {} cannot be set up: {}", name_, std::strerror(errno));
  std::fflush(nullptr);  // or the child would write what is buffered once more
  process_ = ::fork();
  if (process_ < 0) fail("a process for {} cannot be started: {}", name_, std::strerror(errno));
  if (process_ == 0) {
    ::close(ends[0]);
    ::_exit(live(body, ends[1]));
  }
  ::close(ends[1]);
  answers_ = ::fdopen(ends[0], "r");
}

ChildProcess::~ChildProcess() {
  std::fclose(answers_);
  if (process_ > 0) ::waitpid(process_, nullptr, 0);
}

Json ChildProcess::answer() {
  std::string line;
  for (int c = std::fgetc(answers_); c != EOF && c != '\n'; c = std::fgetc(answers_))
    line += static_cast<char>(c);
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) fail("{}: {}", name_, how_it_died());
  if (json.contains("error")) {
    const std::string text = fmt::format("{}: {}", name_, json["error"].get<std::string>());
    throw Error(text, json["usage"].get<bool>() ? ErrorKind::usage : ErrorKind::failed);
  }
  return json;
}

std::string ChildProcess::how_it_died() {
  int status = 0;
  ::waitpid(process_, &status, 0);
  process_ = -1;
  if (WIFSIGNALED(status))
    return fmt::format("its process was ended by signal {} ({}){}", WTERMSIG(status),
                       ::strsignal(WTERMSIG(status)),
                       WTERMSIG(status) == SIGKILL ? "; was there enough memory?" : "");
  return fmt::format("its process ended with code {}", WEXITSTATUS(status));
}

void send_answer(int file, const Json& json) {
  const std::string line = json.dump() + "\n";
  for (size_t done = 0; done < line.size();) {
    const ssize_t n = ::write(file, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) ::_exit(1);  // nobody listens any more
    done += static_cast<size_t>(n);
  }
}

int64_t peak_rss_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

}  // namespace mbs
