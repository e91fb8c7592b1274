// The list of layers. Tests and benchmarks enumerate it, so a layer that is listed is checked without anyone
// remembering to.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/layer.h"

namespace mbs {

/// One kind of layer and the examples that the checks run, each "key=value ... | HxWxC [HxWxC ...]":
/// attributes, a bar, the shapes of the inputs.
struct LayerEntry {
  std::string name;
  LayerMaker make;
  std::vector<std::string> examples;
};

/// All layers, in the order of layers/list.inc.
std::span<const LayerEntry* const> layer_registry();

/// An example taken apart.
struct LayerExample {
  std::string spec;           ///< "conv2d out=4 kernel=3"
  std::vector<Shape> shapes;  ///< of the inputs
};
LayerExample parse_example(const LayerEntry&, const std::string& example);

}  // namespace mbs

/// Last line of a layer's file: LAYER(name, MakerFunction, "example", ...).
#define LAYER(name, maker, ...)                 \
  extern const ::mbs::LayerEntry kLayer_##name; \
  const ::mbs::LayerEntry kLayer_##name{#name, maker, {__VA_ARGS__}};
