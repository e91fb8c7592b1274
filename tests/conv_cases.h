// Convolutions of many shapes, and what they are computed from.
#pragma once

#include <fmt/format.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/network.h"
#include "layers/kernels/conv.h"
#include "layers/registry.h"
#include "tests/values.h"

namespace mbs {

/// A convolution, as a layer and as kernels see it.
struct ConvCase {
  std::string text;
  std::shared_ptr<const Layer> layer;
  ConvShape shape;
  bool has_bias;
};

inline ConvCase make_case(const std::string& spec_text, const Shape& in) {
  ConvCase c{spec_text, make_layer(spec_text, std::span(&in, 1)), {}, false};
  const Spec spec = Spec::parse(spec_text);
  c.shape = {in, c.layer->out_shape(), spec.required_extent("kernel"), spec.extent_or("stride", {1, 1}),
             spec.extent_or("pad", {0, 0})};
  c.has_bias = spec.int_or("bias", 0) != 0;
  return c;
}

/// The layer's own examples, and shapes that reach every width of panel and more than one tile.
inline std::vector<ConvCase> conv_cases() {
  std::vector<ConvCase> cases;
  for (const LayerEntry* entry : layer_registry()) {
    if (entry->name != "conv2d") continue;
    for (const std::string& text : entry->examples) {
      const LayerExample example = parse_example(*entry, text);
      cases.push_back(make_case(example.spec, example.shapes[0]));
    }
  }
  cases.push_back(
      make_case("conv2d out=70 kernel=3 pad=1", {3, 29, 3}));  // rows of 29: several blocks of pixels
  cases.push_back(
      make_case("conv2d out=64 kernel=3 pad=1", {4, 4, 34}));  // rows of 4: blocks of several rows
  cases.push_back(make_case("conv2d out=50 kernel=1 bias=1", {7, 9, 37}));
  cases.push_back(make_case("conv2d out=17 kernel=5 stride=3 pad=4", {11, 8, 6}));
  cases.push_back(
      make_case("conv2d out=3 kernel=3 stride=2 pad=1", {37, 200, 19}));   // bands of rows, one sample a tile
  cases.push_back(make_case("conv2d out=16 kernel=3 pad=1", {1, 40, 5}));  // one row
  cases.push_back(make_case("conv2d out=33 kernel=3 pad=1", {40, 1, 5}));  // one column
  cases.push_back(make_case("conv2d out=32 kernel=1", {9, 31, 5}));        // all pixels are one long row
  cases.push_back(make_case("conv2d out=9 kernel=3 stride=2 pad=1", {1, 1, 70}));
  cases.push_back(make_case("conv2d out=128 kernel=1", {3, 5, 1030}));  // patches far apart
  cases.push_back(make_case("conv2d out=160 kernel=1 stride=2", {5, 4, 1024}));
  cases.push_back(make_case("conv2d out=64 kernel=1", {8, 16, 400}));  // a whole strip of packed patches
  // Every width of a group of columns, and channels below, at and beyond those of a vector.
  for (int i = 1; i <= 16; ++i)
    cases.push_back(make_case(fmt::format("conv2d out={} kernel=3 pad=1", 5 * i - 4), {5, i, 71 - 4 * i}));
  return cases;
}

/// Noise for every array that a kernel reads or adds to.
struct ConvInputs {
  int samples;
  Values x, w, bias, dy, old_dx, old_dw;
};

inline ConvInputs make_inputs(const ConvCase& c, int samples) {
  const ConvShape& s = c.shape;
  return {samples,
          real_noise(samples * s.in.elems(), 1),
          real_noise(s.weight_elems(), 2),
          c.has_bias ? real_noise(s.out.c, 3) : Values(),
          real_noise(samples * s.out.elems(), 4),
          real_noise(samples * s.in.elems(), 5),
          real_noise(s.weight_elems(), 6)};
}

}  // namespace mbs
