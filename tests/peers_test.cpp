// tests/peers/run.py, which measures against other programs, is held against made-up measurements: it must
// find medians and the best rival, and tell what was planted: a missed target, another network, a rival that
// fails.
#include <cstdlib>
#include <filesystem>
#include <string>

#include "tests/doctest.h"

namespace mbs {
namespace {

TEST_CASE("peers: the self-test of tests/peers/run.py") {
  if (std::system("python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null") != 0) {
    DOCTEST_MESSAGE("skipped: there is no python3");
    return;
  }
  const auto script = std::filesystem::path(__FILE__).parent_path() / "peers" / "run.py";
  EXPECT(std::system(("python3 -B '" + script.string() + "' --self-test >/dev/null").c_str()) == 0);
}

}  // namespace
}  // namespace mbs
