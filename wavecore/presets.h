// The machine and memory presets as JSON texts: one object each, of presets by name.
#pragma once

namespace mbs {

extern const char* const kMachinePresets;
extern const char* const kMemoryPresets;

}  // namespace mbs
