// The mbs program: one sub-command, one place that catches errors, exit codes 0 done, 1 failed, 2 usage, 3
// target missed, 130 interrupted.
#include <fmt/core.h>

#include <cstdio>
#include <exception>
#include <new>

#include "apps/commands/command.h"
#include "engine/check.h"

using namespace mbs;

int main(int argc, char** argv) {
  try {
    const int code = parse_command_line({argv + 1, argv + argc})->run();
    if (std::fflush(stdout) != 0) fail("the output could not be written");
    return code;
  } catch (const Error& error) {
    fmt::print(stderr, "mbs: {}\n", error.what());
    return error.kind() == ErrorKind::usage ? 2 : 1;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "mbs: out of memory; a smaller --batch-size or --image-size needs less\n");
    return 1;
  } catch (const std::exception& error) {  // nothing of ours: a library met what it did not expect
    fmt::print(stderr, "mbs: unexpected: {}\n", error.what());
    return 1;
  }
}
