#include "engine/arena.h"

#include <sys/mman.h>

#include "engine/check.h"

namespace mbs {

Arena::Arena(int64_t bytes) : bytes_(bytes > 0 ? bytes : 1) {
  void* p =
      mmap(nullptr, static_cast<size_t>(bytes_), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    fail("cannot get {} MiB of memory for activations: use a smaller --batch-size", bytes_ >> 20);
  madvise(p, static_cast<size_t>(bytes_),
          MADV_HUGEPAGE);  // advice only: without huge pages it is merely slower
  data_ = static_cast<std::byte*>(p);
}

Arena::~Arena() { munmap(data_, static_cast<size_t>(bytes_)); }

}  // namespace mbs
