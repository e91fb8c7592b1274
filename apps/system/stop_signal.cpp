#include "apps/system/stop_signal.h"

#include <unistd.h>

#include <csignal>

namespace mbs {
namespace {

volatile std::sig_atomic_t g_signals = 0;

extern "C" void on_signal(int) {
  if (g_signals != 0) ::_exit(kExitInterrupted);
  g_signals = 1;
}

}  // namespace

void install_stop_handler() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

bool stop_requested() { return g_signals != 0; }

}  // namespace mbs
