// Downloading from file:// addresses and from a curl that fails; checking data sets.
#include <cstdlib>

#include "datasets/dataset_report.h"
#include "datasets/download.h"
#include "datasets/process.h"
#include "tests/doctest.h"
#include "tests/helpers.h"

namespace fs = std::filesystem;
using namespace mbs;

namespace {

bool curl_is_missing() {
  if (!error_of([] { run_process({"curl", "--version"}); }).empty()) {
    DOCTEST_MESSAGE("skipped: curl is not installed");
    return true;
  }
  return false;
}

std::string sha256(const fs::path& path) { return run_process({"sha256sum"}, path).output.substr(0, 64); }

/// Sets a variable of the environment for a while.
class WithVariable {
 public:
  WithVariable(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    setenv(name, value.c_str(), 1);
  }
  ~WithVariable() { old_.empty() ? unsetenv(name_) : setenv(name_, old_.c_str(), 1); }
  WithVariable(const WithVariable&) = delete;
  WithVariable& operator=(const WithVariable&) = delete;

 private:
  const char* name_;
  std::string old_;
};

}  // namespace

TEST_CASE("programs run without a shell") {
  EXPECT(run_process({"printf", "%s|", "a b", "$HOME", "*"}).output == "a b|$HOME|*|");
  EXPECT(run_process({"sh", "-c", "exit 7"}).status == 7);
  EXPECT(run_process({"sh", "-c", "kill -9 $$"}).status == 128 + 9);
  EXPECT(has(error_of([] { run_process({"no-such-program-of-mbs"}); }),
             {"no-such-program-of-mbs", "apt-get install"}));
  const TempFolder dir;
  // FIPS 180-4's example: the digest of "abc".
  write_file(dir / "a b", {'a', 'b', 'c'});
  EXPECT(sha256(dir / "a b") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("fetch: download, resume, verify") {
  if (curl_is_missing()) return;
  const TempFolder dir;
  const Bytes content = noise(5000, 1);
  write_file(dir / "source" / "archive", content);
  Download download{"a.tar.gz", "file://" + (dir / "source" / "archive").string(),
                    sha256(dir / "source" / "archive"), 5000};
  const fs::path to = dir / "new" / "data", target = to / "a.tar.gz", part = to / "a.tar.gz.part";

  SUBCASE("whole") { EXPECT(fetch(download, to) == target); }
  SUBCASE("resumed: what is there is kept") {
    write_file(part, Bytes(content.begin(), content.begin() + 1234));
    fetch(download, to);
  }
  SUBCASE("all there but the name") {
    write_file(part, content);
    download.url = "file:///nowhere";
    fetch(download, to);
  }
  SUBCASE("cut off under the final name") {
    write_file(target, Bytes(content.begin(), content.begin() + 4321));
    fetch(download, to);
  }
  SUBCASE("there already") {
    write_file(target, content);
    download.url = "file:///nowhere";
    download.bytes = 0;  // the checksum alone tells that it is whole
    fetch(download, to);
  }
  EXPECT(read_whole(target) == content);
  EXPECT(!fs::exists(part));
}

TEST_CASE("fetch: another file than expected is put aside") {
  if (curl_is_missing()) return;
  const TempFolder dir;
  write_file(dir / "archive", noise(50, 1));
  const std::string actual = sha256(dir / "archive"), expected(64, 'e');
  const Download download{"a.tar.gz", "file://" + (dir / "archive").string(), expected, 60};
  const std::string error = error_of([&] { fetch(download, dir / "to"); });
  EXPECT(has(error, {actual.c_str(), expected.c_str(), "50 bytes, expected 60", "a.tar.gz.bad"}));
  EXPECT(fs::exists(dir / "to" / "a.tar.gz.bad"));
  EXPECT(!fs::exists(dir / "to" / "a.tar.gz.part"));
  EXPECT(!fs::exists(dir / "to" / "a.tar.gz"));
}

TEST_CASE("fetch: no connection") {
  const TempFolder dir;
  write_file(dir / "bin" / "curl", {});
  std::ofstream(dir / "bin" / "curl")
      << "#!/bin/sh\nprintf '%s\\n' \"$@\" > '" << (dir / "arguments").string() << "'\nexit 6\n";
  fs::permissions(dir / "bin" / "curl", fs::perms::owner_all);
  const WithVariable path("PATH", (dir / "bin").string() + ":" + std::getenv("PATH"));
  const WithVariable url("CIFAR10_URL", "https://mirror.invalid/c.tar.gz");
  const std::string error = error_of([&] { get_dataset("cifar10", dir / "data", {}); });
  EXPECT(
      has(error, {"https://mirror.invalid/c.tar.gz", "exit status 6", "resumes", "--dataset fashion-mnist"}));
  const Bytes arguments = read_whole(dir / "arguments");
  EXPECT(has({arguments.begin(), arguments.end()},
             {"-fL\n", "--retry\n5\n", "--retry-all-errors\n", "-C\n-\n", "--connect-timeout\n20\n",
              "cifar-10-binary.tar.gz.part\n", "--\nhttps://mirror.invalid/c.tar.gz\n"}));
}

TEST_CASE("adopt: a local file is verified, then copied") {
  const TempFolder dir;
  write_file(dir / "mine", noise(77, 2));
  const Download download{"a.tar.gz", "", sha256(dir / "mine"), 77};
  const fs::path target = adopt(download, dir / "mine", dir / "to");
  EXPECT(target == dir / "to" / "a.tar.gz");
  EXPECT(read_whole(target) == noise(77, 2));
  EXPECT(adopt(download, target, dir / "to") == target);
  EXPECT(fs::exists(dir / "mine"));
  write_file(dir / "other", noise(78, 3));
  EXPECT(has(error_of([&] { adopt(download, dir / "other", dir / "to"); }),
             {"other", "sha256", "78 bytes, expected 77"}));
  EXPECT(read_whole(target) == noise(77, 2));
  EXPECT(has(error_of([&] { adopt(download, dir / "none", dir / "to"); }), {"none: no such file"}));
  EXPECT(has(error_of([&] { adopt(download, dir / "mine", dir / "mine"); }), {"mine", "cannot be made"}));
}

TEST_CASE("get: what is not downloaded") {
  EXPECT(has(error_of([] { get_dataset("fashion-mnist", {}, {}); }),
             {"usage", "apt-get install dataset-fashion-mnist"}));
  EXPECT(has(error_of([] { get_dataset("folder", {}, {}); }), {"usage", "'folder'", "cifar10 and cifar100"}));
}

TEST_CASE("check: counts, statistics, duplicates, leaks, labels") {
  DataSplits data;
  for (Dataset* part : {&data.train, &data.test}) {
    part->shape = {1, 3, 1};
    part->class_names = {"a", "b"};
  }
  data.train.pixels = {1, 2, 3, 4, 5, 6, 1, 2, 3, 1, 2, 3, 7, 8, 9};
  data.train.labels = {0, 1, 0, 1, 0};  // images 2 and 3 equal image 0, image 3 with another label
  data.test.pixels = {4, 5, 6, 1, 2, 4, 4, 5, 6};
  data.test.labels = {1, 1, 2};  // images 0 and 2 equal training image 1; label 2 is none
  const DatasetReport report = check_dataset(data);
  EXPECT(report.train.images == 5);
  EXPECT(report.train.class_counts == std::vector<int64_t>{3, 2});
  EXPECT(report.train.duplicates == 2);
  EXPECT(report.train.contradictions == 1);
  EXPECT(report.train.bad_labels == 0);
  EXPECT(std::abs(report.train.statistics.mean[0] - (6 + 15 + 6 + 6 + 24) / 15.0 / 255) < 1e-15);
  EXPECT(report.test.class_counts == std::vector<int64_t>{0, 2});
  EXPECT(report.test.duplicates == 1);
  EXPECT(report.test.contradictions == 1);
  EXPECT(report.test.bad_labels == 1);
  EXPECT(report.leaked == 2);
  REQUIRE(report.problems.size() == 5);
  EXPECT(report.problems[0] == "train: 2 images are copies of another (1 with another label)");
  EXPECT(report.problems[1] == "test: 1 labels are out of range 0..1");
  EXPECT(report.problems[2] == "test: class a has no images");
  EXPECT(has(report.problems[4], {"2 test images are also in the training part"}));
}

TEST_CASE("check: nothing to say about synthetic images") {
  const DatasetReport report = check_dataset(
      load_dataset({.name = "synthetic", .image_size = 13, .synthetic_train = 50, .synthetic_test = 20}));
  EXPECT(report.problems.empty());
  EXPECT(report.train.class_counts == std::vector<int64_t>(10, 5));
}
