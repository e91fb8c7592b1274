// AlexNet: Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
// 2012, as one tower: 96-256-384-384-256 channels, every convolution reads all channels, no local response
// normalisation. It has no norm; its convolutions have a bias. Nodes are numbered as torchvision numbers the
// layers of its (narrower) AlexNet.
#include "layers/zoo/builders.h"

namespace mbs {

Network build_alexnet(const NetworkOptions& options) {
  Network network(options.arch, options.input);
  const std::string pool = "max_pool kernel=3 stride=2", classes = std::to_string(options.classes);
  const std::vector<UnitSpec> layers = {
      {"features.0", "conv2d out=96 kernel=11 stride=4 bias=1"},
      {"features.1", "relu"},
      {"features.2", pool},
      {"features.3", "conv2d out=256 kernel=5 pad=2 bias=1"},
      {"features.4", "relu"},
      {"features.5", pool},
      {"features.6", "conv2d out=384 kernel=3 pad=1 bias=1"},
      {"features.7", "relu"},
      {"features.8", "conv2d out=384 kernel=3 pad=1 bias=1"},
      {"features.9", "relu"},
      {"features.10", "conv2d out=256 kernel=3 pad=1 bias=1"},
      {"features.11", "relu"},
      {"features.12", pool},
      {"classifier.0", "dropout rate=0.5"},
      {"classifier.1", "linear out=4096"},
      {"classifier.2", "relu"},
      {"classifier.3", "dropout rate=0.5"},
      {"classifier.4", "linear out=4096"},
      {"classifier.5", "relu"},
      {"classifier.6", "linear out=" + classes},
  };
  TensorId x = network.input();
  for (const UnitSpec& layer : layers) x = add_unit(network, options, layer, x);
  add_loss(network, options, x);
  return network;
}

}  // namespace mbs
