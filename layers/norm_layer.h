// The mathematics that group norm and batch norm share. Both normalise groups of channels over a set of
// pixels: group norm the pixels of one sample, batch norm (one channel a group) the pixels of all samples.
//
//   xhat = (x - mean) / sqrt(variance + eps)      over the n = pixels * channels / groups values of a group
//   y    = gamma[c] xhat + beta[c]
//   dx   = (gamma[c] dy - (sum gamma dy) / n - xhat (sum gamma dy xhat) / n) / sqrt(variance + eps)
//
// (Ioffe and Szegedy, ICML 2015; Wu and He, ECCV 2018.) Sums over a group are collected in double.
//
// With the attribute relu=1 the output is max(y, 0): the same bits as of a relu layer behind it, but in the
// sweeps that normalise, and backward reads dy through the mask.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/layer.h"
#include "layers/kernels/elementwise.h"

namespace mbs {

/// Mean and variance (divided by n, not n - 1) of one group.
struct GroupStats {
  double mean, variance;
};

/// What is normalised: `pixels` x `channels` values, channels last, in `groups` groups of adjacent channels.
struct NormShape {
  int64_t pixels;
  int channels, groups;
  double eps;
  bool relu;  ///< max(y, 0) follows

  int64_t stats_bytes() const { return groups * static_cast<int64_t>(sizeof(GroupStats)); }
  /// One bit per element.
  int64_t mask_bytes() const { return relu ? mbs::mask_bytes(pixels * channels) : 0; }
};

/// Elements of `scratch` of the functions below; it must be aligned for double.
int64_t norm_scratch_elems(int channels);

/// stats[g] of each group.
void group_statistics(const NormShape&, const real* x, GroupStats* stats, real* scratch);

/// y from x and the statistics. gamma, beta: channels. `mask`: of the ReLU, if there is one; may be null.
void group_normalize(const NormShape&, const real* x, const GroupStats* stats, const real* gamma,
                     const real* beta, real* y, uint8_t* mask, real* scratch);

/// Adds one term to each of dgamma[c] and dbeta[c]; assigns dx, or adds to it where `add`, unless it is null.
/// `mask`: as group_normalize left it; not read without a ReLU.
void group_norm_gradient(const NormShape&, const real* x, const real* dy, const uint8_t* mask,
                         const GroupStats* stats, const real* gamma, real* dgamma, real* dbeta, real* dx,
                         bool add, real* scratch);

/// What the layers of normalisation have in common.
class NormLayer : public Layer {
 public:
  std::vector<ParamSpec> params() const override;
  bool in_place() const override { return true; }

 protected:
  /// Reads the attributes `eps` (default 1e-5) and `relu`. Error (usage): not exactly one input.
  NormLayer(const Spec&, std::span<const Shape> in);

  /// All but what is kept for backward. Forward's scratch starts with stats_elems() for the statistics of a
  /// call that keeps none.
  Needs common_needs() const;
  int64_t stats_elems() const { return shape_.stats_bytes() / static_cast<int64_t>(sizeof(real)); }

  NormShape shape_;  ///< of one sample, with a group per channel until a layer's constructor changes that
};

}  // namespace mbs
