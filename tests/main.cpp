// The test program: doctest's main, ending with the line that continuous integration reads.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>

namespace {

struct LastLine : doctest::IReporter {
  explicit LastLine(const doctest::ContextOptions&) {}
  void test_run_end(const doctest::TestRunStats& s) override {
    passed = static_cast<int>(s.numTestCasesPassingFilters - s.numTestCasesFailed);
    failed = static_cast<int>(s.numTestCasesFailed);
  }
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}

  static int passed, failed;
};
int LastLine::passed = 0;
int LastLine::failed = 0;

}  // namespace

DOCTEST_REGISTER_LISTENER("last-line", 1, LastLine);

int main(int argc, char** argv) {
  ::setenv("MBS_TUNE", "off", 1);  // what somebody measured on this machine is no part of a test
  doctest::Context context(argc, argv);
  const int status = context.run();
  if (context.shouldExit()) return status;
  std::printf("%d passed, %d failed\n", LastLine::passed, LastLine::failed);
  // A run that executed nothing is not a success.
  return LastLine::passed + LastLine::failed == 0 ? 1 : status;
}
