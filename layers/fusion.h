// Fusion: a pass from network to network. What is planned, run and counted afterwards is the fused network.
#pragma once

#include "engine/network.h"

namespace mbs {

/// The same network with every ReLU done by the layer before it, in the same sweep, where that layer can do
/// so (group norm, batch norm, add) and nobody else reads its output. Values, gradients and trained weights
/// keep their bits: names of the layers that stay, parameters and states with their keys, order and offsets,
/// modules and branches are those of `network`.
Network fuse_relu(const Network& network);

}  // namespace mbs
