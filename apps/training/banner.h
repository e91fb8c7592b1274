// What a run is, in a few lines, before it starts.
#pragma once

#include <string>

#include "apps/training/experiment.h"

namespace mbs {

/// Machine, data, network, order and what is held out: one line each, and the group table.
std::string banner(const Experiment& experiment, int64_t planned_bytes);

/// Multiply-accumulates of convolutions and linear layers, forward, for one sample.
int64_t forward_macs(const Network& network);

}  // namespace mbs
