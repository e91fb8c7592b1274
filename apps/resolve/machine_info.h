// What this machine is: for the banner, `mbs info` and --buffer auto.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mbs {

/// One level of cache, as the operating system describes that of the first processor.
struct Cache {
  int level = 0;
  std::string type;  ///< "Data", "Instruction", "Unified"
  int64_t bytes = 0;
};

struct MachineInfo {
  std::string processor;  ///< "" where the system does not say
  std::string isa;  ///< best instruction set that the SIMD kernels can use here, as Google Highway names it
  int hardware_threads = 1;
  std::string blas;
  std::vector<Cache> caches;
};

MachineInfo machine_info();

/// Bytes of the level 2 cache of a core; 1 MiB where the system does not say.
int64_t level2_cache_bytes();

}  // namespace mbs
