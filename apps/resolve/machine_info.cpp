#include "apps/resolve/machine_info.h"

#include <hwy/targets.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "engine/gemm.h"
#include "engine/parallel.h"

namespace mbs {
namespace {

std::string first_line(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "";
}

/// "512K" -> 524288.
int64_t cache_bytes(const std::string& text) {
  char* end = nullptr;
  const int64_t number = std::strtoll(text.c_str(), &end, 10);
  if (*end == 'K') return number << 10;
  if (*end == 'M') return number << 20;
  return number;
}

std::vector<Cache> read_caches() {
  std::vector<Cache> caches;
  for (int i = 0;; ++i) {
    const auto folder =
        std::filesystem::path("/sys/devices/system/cpu/cpu0/cache") / ("index" + std::to_string(i));
    std::error_code error;
    if (!std::filesystem::exists(folder / "size", error)) break;
    caches.push_back({std::atoi(first_line(folder / "level").c_str()), first_line(folder / "type"),
                      cache_bytes(first_line(folder / "size"))});
  }
#ifdef _SC_LEVEL2_CACHE_SIZE
  if (caches.empty()) {
    const std::pair<int, int> levels[] = {
        {1, _SC_LEVEL1_DCACHE_SIZE}, {2, _SC_LEVEL2_CACHE_SIZE}, {3, _SC_LEVEL3_CACHE_SIZE}};
    for (const auto& [level, name] : levels)
      if (const int64_t bytes = ::sysconf(name); bytes > 0)
        caches.push_back({level, level == 1 ? "Data" : "Unified", bytes});
  }
#endif
  return caches;
}

}  // namespace

MachineInfo machine_info() {
  // Highway numbers its targets so that the best one is the lowest bit.
  const int64_t targets = hwy::SupportedTargets();
  return {processor_name(), hwy::TargetName(targets & -targets), hardware_threads(), blas_description(),
          read_caches()};
}

int64_t level2_cache_bytes() {
  for (const Cache& cache : read_caches())
    if (cache.level == 2 && cache.bytes > 0) return cache.bytes;
  return int64_t{1} << 20;
}

}  // namespace mbs
