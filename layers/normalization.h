// The mathematics that group norm and batch norm share. Both normalise groups of channels over a set of
// pixels: group norm the pixels of one sample, batch norm (one channel a group) the pixels of all samples.
//
//   xhat = (x - mean) / sqrt(variance + eps)      over the n = pixels * channels / groups values of a group
//   y    = gamma[c] xhat + beta[c]
//   dx   = (gamma[c] dy - (sum gamma dy) / n - xhat (sum gamma dy xhat) / n) / sqrt(variance + eps)
//
// (Ioffe and Szegedy, ICML 2015; Wu and He, ECCV 2018.) Sums over a group are collected in double.
#pragma once

#include <cstdint>

#include "engine/real.h"

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
};

/// Elements of `scratch` of the functions below; it must be aligned for double.
int64_t norm_scratch_elems(int channels);

/// stats[g] of each group.
void group_statistics(const NormShape&, const real* x, GroupStats* stats, real* scratch);

/// y from x and the statistics. gamma, beta: channels.
void group_normalize(const NormShape&, const real* x, const GroupStats* stats, const real* gamma,
                     const real* beta, real* y, real* scratch);

/// Adds one term to each of dgamma[c] and dbeta[c]; assigns dx, or adds to it where `add`, unless it is null.
void group_norm_gradient(const NormShape&, const real* x, const real* dy, const GroupStats* stats,
                         const real* gamma, real* dgamma, real* dbeta, real* dx, bool add, real* scratch);

}  // namespace mbs
