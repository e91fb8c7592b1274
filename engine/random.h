// Counter-based random numbers: every value is a function of its key and of nothing that ran before, so no
// order, split or thread changes it.
#pragma once

#include <cmath>
#include <cstdint>

namespace mbs {

/// What a random value is for. Part of every key, so that two uses never share values.
enum class Stream : uint64_t { init = 1, shuffle, split, crop, flip, cutout, dropout, synthetic, test };

/// Mixes 64 bits (the finaliser of SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
constexpr uint64_t mix_bits(uint64_t z) {
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/// A key = (seed, stream, a, b); at(i) is its i-th value. `a` and `b` are whatever names the place: epoch and
/// sample for augmentation, step and (node, sample) for dropout, 0 and the parameter's index for
/// initialisation.
class Random {
 public:
  constexpr Random(uint64_t seed, Stream stream, uint64_t a = 0, uint64_t b = 0)
      : key_(mix_bits(mix_bits(mix_bits(mix_bits(seed) ^ static_cast<uint64_t>(stream)) ^ a) ^ b)) {}

  /// 64 uniform bits.
  constexpr uint64_t bits(uint64_t i) const { return mix_bits(key_ ^ mix_bits(i)); }

  /// Uniform in [0, 1), a multiple of 2^-24, so exact in float.
  constexpr double uniform(uint64_t i) const { return static_cast<double>(bits(i) >> 40) * 0x1p-24; }

  /// Uniform integer in [0, n), 0 < n < 2^32 (up to a bias of n / 2^32).
  constexpr uint64_t below(uint64_t i, uint64_t n) const { return ((bits(i) >> 32) * n) >> 32; }

  /// Standard normal value (Box-Muller).
  double normal(uint64_t i) const {
    const double u = (static_cast<double>(bits(2 * i) >> 11) + 0.5) * 0x1p-53;
    const double v = static_cast<double>(bits(2 * i + 1) >> 11) * 0x1p-53;
    return std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v);
  }

 private:
  uint64_t key_;
};

}  // namespace mbs
