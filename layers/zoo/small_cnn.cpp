// Three convolutions of 16, 32 and 64 channels, each with norm and ReLU, with 2x2 max pools between them:
// learns Fashion-MNIST in seconds and has every layer that a plain network needs.
#include <fmt/core.h>

#include "layers/zoo/builders.h"

namespace mbs {

Network build_small_cnn(const NetworkOptions& options) {
  Network network(options.arch, options.input);
  TensorId x = network.input();
  for (int stage = 1; stage <= 3; ++stage) {
    const int channels = 8 << stage;
    x = add_conv_norm(network, options, fmt::format("conv{}", stage), fmt::format("bn{}", stage),
                      fmt::format("conv2d out={} kernel=3 pad=1", channels), x);
    x = network.add(fmt::format("relu{}", stage), "relu", {x});
    if (stage < 3) x = network.add(fmt::format("pool{}", stage), "max_pool kernel=2 stride=2", {x});
  }
  add_classifier(network, options, x);
  return network;
}

}  // namespace mbs
