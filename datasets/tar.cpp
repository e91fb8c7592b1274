#include "datasets/tar.h"

#include <algorithm>
#include <numeric>

#include "engine/check.h"

namespace mbs {

namespace {

constexpr int64_t kBlockBytes = 512;

struct Entry {
  std::string name;
  int64_t bytes;
  char type;
};

/// A field of octal digits, ended by a space or a zero byte; -1 where it is none.
int64_t octal(std::span<const uint8_t> field) {
  int64_t value = 0;
  size_t digits = 0;
  for (const uint8_t c : field) {
    if (c == ' ' && digits == 0) continue;
    if (c < '0' || c > '7') break;
    value = value * 8 + (c - '0');
    ++digits;
  }
  return digits > 0 ? value : -1;
}

std::string text(std::span<const uint8_t> field) {
  return {field.begin(), std::find(field.begin(), field.end(), uint8_t{0})};
}

Entry parse_header(const FileReader& file, std::span<const uint8_t> block) {
  // POSIX.1-1988: the checksum is the sum of the header's bytes with its own eight taken as spaces.
  const auto checksum = block.subspan(148, 8);
  const int64_t sum = std::accumulate(block.begin(), block.end(), int64_t{0}) -
                      std::accumulate(checksum.begin(), checksum.end(), int64_t{0}) + 8 * ' ';
  const int64_t bytes = octal(block.subspan(124, 12));
  if (sum != octal(checksum) || bytes < 0)
    file.fail_with("damaged, or not a tar archive: a file header is wrong");
  const std::string prefix = text(block.subspan(345, 155)), name = text(block.first(100));
  return {prefix.empty() ? name : prefix + "/" + name, bytes, static_cast<char>(block[156])};
}

}  // namespace

void read_tar(FileReader& file, const std::function<bool(const std::string&, int64_t)>& want,
              const std::function<void(const std::string&, std::span<const uint8_t>)>& take) {
  for (;;) {
    const std::vector<uint8_t> block = file.take(kBlockBytes, "the tar archive");
    if (std::all_of(block.begin(), block.end(), [](uint8_t b) { return b == 0; })) break;
    const Entry entry = parse_header(file, block);
    const int64_t padding = (kBlockBytes - entry.bytes % kBlockBytes) % kBlockBytes;
    const bool plain = entry.type == '0' || entry.type == '\0';
    if (plain && want(entry.name, entry.bytes)) {
      take(entry.name, file.take(entry.bytes, entry.name));
      file.take(padding, entry.name);
    } else {
      // In pieces, so that an entry nobody wants takes no memory.
      for (int64_t left = entry.bytes + padding; left > 0;) {
        const int64_t piece = std::min<int64_t>(left, 1 << 20);
        file.take(piece, entry.name);
        left -= piece;
      }
    }
  }
  file.drain();
}

}  // namespace mbs
