#include "apps/measure/machine_limits.h"

#include <unistd.h>

#include <algorithm>
#include <memory>

#include "apps/measure/repetition.h"
#include "apps/resolve/machine_info.h"
#include "apps/system/median.h"
#include "engine/arena.h"
#include "engine/parallel.h"
#include "layers/kernels/roofline.h"

namespace mbs {
namespace {

// Results go here, so that no loop can be left out.
thread_local volatile real sink;

/// The two arrays of one thread; its first touch puts them into its memory.
struct Buffers {
  explicit Buffers(int64_t bytes) : memory(bytes) {
    std::fill_n(reinterpret_cast<std::byte*>(memory.data()), bytes, std::byte{});
  }
  real* data() { return reinterpret_cast<real*>(memory.data()); }
  Arena memory;
};

Bandwidth measure(const std::string& level, int64_t bytes, int threads) {
  constexpr int kRuns = 5;
  constexpr double kSeconds = 0.02;
  const int64_t elems = bytes / static_cast<int64_t>(sizeof(real)), half = elems / 2;
  std::vector<std::unique_ptr<Buffers>> buffers(static_cast<size_t>(threads));
  parallel_for(threads, threads,
               [&](int t) { buffers[static_cast<size_t>(t)] = std::make_unique<Buffers>(bytes); });
  const auto rate = [&](const auto& kernel) {
    const auto seconds = [&](int64_t times) {
      return timed(threads, [&](int t) { kernel(buffers[static_cast<size_t>(t)]->data(), times); });
    };
    const int64_t times = repetitions(kSeconds, [&](int64_t n) { kernel(buffers[0]->data(), n); });
    std::vector<double> rates;
    for (int i = 0; i < kRuns; ++i)
      rates.push_back(static_cast<double>(bytes * threads * times) / seconds(times));
    return median(rates);
  };
  Bandwidth found{level, bytes, 0, 0};
  found.read = rate([&](real* p, int64_t times) { sink = read_array(p, elems, times); });
  found.copy = rate([&](real* p, int64_t times) { copy_array(p, p + half, real(1), half, times); });
  return found;
}

}  // namespace

double measure_fma_peak(int threads, int runs, double seconds) {
  const auto work = [](int64_t rounds) { sink = fma_rounds(rounds, real(0.5), real(1e-6)); };
  const int64_t rounds = repetitions(seconds, work);
  const auto flops = static_cast<double>(rounds * fma_round_flops() * threads);
  double best = 0;
  for (int i = 0; i < runs; ++i) best = std::max(best, flops / timed(threads, [&](int) { work(rounds); }));
  return best;
}

std::vector<Bandwidth> measure_bandwidths(int threads,
                                          const std::function<void(const std::string&)>& started) {
  std::vector<Bandwidth> found;
  const auto add = [&](const std::string& level, int64_t bytes) {
    if (started) started(level);
    found.push_back(measure(level, bytes / 4096 * 4096, threads));
  };
  int64_t last = 0;
  for (const Cache& cache : machine_info().caches) {
    if (cache.type == "Instruction") continue;
    // Half of it, so that what else is kept there does not matter. Of a last level that others use as well
    // (on a server, other guests too) a few times the level before is all that may be counted on.
    const int64_t share = cache.level >= 3 ? std::min(cache.bytes / 2 / threads, 4 * last) : cache.bytes / 2;
    add("L" + std::to_string(cache.level), share);
    last = std::max(last, cache.bytes);
  }
  constexpr int64_t kMostBytes = int64_t{1} << 30, kLeastBytes = int64_t{256} << 20;
  const int64_t memory = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  add("DRAM", std::min(std::clamp(4 * last, kLeastBytes, kMostBytes), memory / 4) / threads);
  return found;
}

}  // namespace mbs
