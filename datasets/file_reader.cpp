#include "datasets/file_reader.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "engine/check.h"

namespace mbs {

namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

gzFile handle(void* file) { return static_cast<gzFile>(file); }

}  // namespace

std::string with_commas(int64_t n) {
  std::string digits = fmt::format("{}", n);
  const size_t sign = n < 0 ? 1 : 0;
  for (size_t place = 3; digits.size() - sign > place; place += 4)
    digits.insert(digits.size() - place, 1, ',');
  return digits;
}

void FileReader::Close::operator()(void* file) const { gzclose(handle(file)); }

FileReader::FileReader(const std::filesystem::path& path, std::string hint)
    : name_(path.string()), hint_(std::move(hint)), file_(gzopen(path.c_str(), "rb")) {
  if (!file_) fail_with(fmt::format("cannot be opened: {}", std::strerror(errno)));
  gzbuffer(handle(file_.get()), unsigned{1} << 18);
}

void FileReader::fail_with(const std::string& message) const { fail("{}: {}; {}", name_, message, hint_); }

size_t FileReader::read(std::span<uint8_t> out) {
  size_t done = 0;
  while (done < out.size()) {
    const size_t piece = std::min(out.size() - done, kPieceBytes);
    const int got = gzread(handle(file_.get()), out.data() + done, static_cast<unsigned>(piece));
    int status = Z_OK;
    const char* reason = gzerror(handle(file_.get()), &status);
    // A gzip file that ends early is reported as a short read with Z_BUF_ERROR.
    if (status == Z_BUF_ERROR) fail_with("cut off in the middle of its compressed data");
    if (got < 0 || status != Z_OK) {
      fail_with(fmt::format("damaged: {}", status == Z_ERRNO ? std::strerror(errno) : reason));
    }
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

std::vector<uint8_t> FileReader::take(int64_t bytes, const std::string& what) {
  std::vector<uint8_t> data;
  while (static_cast<int64_t>(data.size()) < bytes) {
    const size_t done = data.size();
    const size_t left = static_cast<size_t>(bytes) - done;
    data.resize(done + std::min(left, std::max(kPieceBytes, done)));
    const size_t got = read(std::span(data).subspan(done));
    if (done + got < data.size()) {
      fail_with(fmt::format("cut off: it ends after {} of the {} bytes of {}",
                            with_commas(static_cast<int64_t>(done + got)), with_commas(bytes), what));
    }
  }
  return data;
}

int64_t FileReader::drain() {
  std::vector<uint8_t> piece(kPieceBytes);
  int64_t total = 0;
  while (const size_t got = read(piece)) total += static_cast<int64_t>(got);
  return total;
}

}  // namespace mbs
