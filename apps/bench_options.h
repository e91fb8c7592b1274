// What `mbs bench` is told.
#pragma once

#include "apps/options.h"

namespace mbs {

/// `mbs bench machine`.
struct BenchMachineOptions {
  int threads = 0;  ///< 0: all hardware threads
  bool json = false, csv = false;
};

}  // namespace mbs
