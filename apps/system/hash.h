// A fingerprint for equality at a glance; no protection against intent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mbs {

/// FNV-1a of 64 bits (Fowler, Noll, Vo).
inline uint64_t fnv1a(std::span<const std::byte> bytes) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const std::byte b : bytes) hash = (hash ^ static_cast<uint64_t>(b)) * 0x100000001b3u;
  return hash;
}

}  // namespace mbs
