// How much a block needs on chip: features of one sample that must live at the same time while the block runs
// (sub-batch planning divides the buffer by it). Weights, masks and statistics stream through and are not
// counted.
#pragma once

#include <cstdint>

#include "engine/network.h"

namespace mbs {

/// Whether a layer that can work in place (norm, ReLU, dropout, add) needs one tensor on chip or two.
enum class Space : uint8_t { out_of_place, in_place };

/// What of a module stays on chip: only what a layer hands to the next one (MBS-FS, MBS1), or also what
/// branches share (MBS2: the block's input, and the operands of the merge).
enum class Sharing : uint8_t { within_branch, across_branches };

/// Elements per sample that a block needs on chip.
///   plain: in + out of the layer.
///   within_branch: the largest in + out of its layers; a merge finds one operand on chip.
///   residual: max over branches b and layers l of in + out + [b main, l not its first] block in
///     + [b not main] block out; the add needs its operands (and, out of place, its output).
///   inception: block in + block out + max over layers of what is private to a branch: a branch's
///     first layer reads the block input and its last one writes into the block output.
/// The equations are our reconstruction of what Lym et al., MLSys 2019, divide the buffer by
/// (docs/accounting.md). The backward pass needs the same.
int64_t footprint_elems(const Network&, const Block&, Space, Sharing);

/// Elements per sample of one layer's input and output, within a branch.
int64_t layer_footprint_elems(const Network&, const Node&, Space);

/// footprint_elems in bytes, rounded up.
int64_t footprint_bytes(const Network&, const Block&, Space, Sharing, int feature_bits);

}  // namespace mbs
