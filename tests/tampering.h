// Events that lie: for the tests of what listens to them.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "engine/event.h"

namespace mbs::tests {

/// Changes an event and its operands; false: the event is lost.
using Change = std::function<bool(KernelEvent&, std::vector<Operand>&)>;

/// Hands events on after a change.
struct Tampering : Recorder {
  Recorder& next;
  Change change;

  Tampering(Recorder& n, Change c) : next(n), change(std::move(c)) {}
  void on_kernel(const KernelEvent& event) override {
    KernelEvent copy = event;
    std::vector<Operand> operands(event.operands.begin(), event.operands.end());
    if (!change(copy, operands)) return;
    copy.operands = operands;
    next.on_kernel(copy);
  }
};

}  // namespace mbs::tests
