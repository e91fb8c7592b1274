// Times the kernels of the layers of a network, each beside its error.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/measure/layer_reference.h"
#include "engine/network.h"
#include "mbs/planner.h"

namespace mbs {

/// A layer with its shape, and how often the network has it.
struct LayerCase {
  std::string spec;
  std::shared_ptr<const Layer> layer;
  bool wants_dx = false;
  bool has_backward = true;  ///< false: a gradient is passed on without a call
  int samples = 1;           ///< of one call: a sub-batch of the first such layer
  int count = 0;

  std::string kind() const { return spec.substr(0, spec.find(' ')); }
};

/// Every distinct layer of a network, in the order of its first use. `samples`: of one call; 0: the sub-batch
/// of the plan.
std::vector<LayerCase> distinct_layers(const Network& network, const Plan& plan, int samples);

/// One kernel of one layer.
struct KernelTime {
  std::string pass;         ///< forward, backward, or data and weights of a layer with matrix products
  double seconds = 0;       ///< of one call: the median
  double best_seconds = 0;  ///< the fastest measurement: far from the median, something disturbed it
  double flops = 0;         ///< of one call: 2 per multiply-accumulate of the direct algorithm; 0: none
  double bytes = 0;         ///< of one call: every operand once; only where flops is 0
  std::optional<double> residual;
  bool per_step = false;  ///< called once a step and core, whatever the samples: prepare, finish
};

/// Checks and times a layer on `threads` threads at once, each with samples of its own; flops and bytes are
/// of all of them. Error: a residual above kResidualLimit; the message names layer, kernel and residual.
std::vector<KernelTime> time_layer(const LayerCase& layer, int threads);

}  // namespace mbs
