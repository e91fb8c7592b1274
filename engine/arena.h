// One aligned block of memory, taken from the system once and backed by huge pages where the system gives
// them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mbs {

class Arena {
 public:
  /// Error: the system has not that much memory. The pages are first touched by whoever first uses them.
  explicit Arena(int64_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// Aligned to a page.
  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  int64_t bytes_;
};

}  // namespace mbs
