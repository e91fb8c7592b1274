// Ctrl-C and SIGTERM: the first asks to stop after the running step, the second ends the program at once.
#pragma once

namespace mbs {

/// Exit code of an interrupted run.
inline constexpr int kExitInterrupted = 130;
/// Exit code of a run that missed --target-acc.
inline constexpr int kExitTargetMissed = 3;

void install_stop_handler();
bool stop_requested();

}  // namespace mbs
