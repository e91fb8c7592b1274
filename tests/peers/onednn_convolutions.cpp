// Time of all convolutions of a network alone in oneDNN: forward, gradient of the data, gradient of the
// weights, each in the layout that oneDNN likes best, reorders left out. So it is less than what a training
// step on oneDNN can take.
//
//   mbs bench kernels resnet20 --kind conv2d --json | OMP_NUM_THREADS=2 onednn_convolutions 128 direct
//
// The layers come from that JSON on standard input. `winograd` takes Winograd's algorithm where oneDNN has it
// for a pass of a layer and it is the faster one. Prints one line of JSON: images_per_second,
// seconds_per_step, and every layer. A bias is not computed. Needs Debian's libdnnl-dev.
#include <fmt/core.h>

#include <charconv>
#include <iostream>
#include <nlohmann/json.hpp>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <unordered_map>

#include "apps/measure/repetition.h"
#include "apps/system/median.h"
#include "engine/check.h"
#include "engine/spec.h"
#include "layers/shapes.h"

namespace {

using mbs::fail, mbs::fail_usage, mbs::Shape, mbs::Spec;
using Json = nlohmann::ordered_json;
using dnnl::memory;

constexpr int kMeasurements = 7;
constexpr double kSecondsOfMeasurement = 0.02;

/// A convolution of the network, and how often the network has it.
struct Convolution {
  std::string spec, input;
  int count = 0;
  Shape in, out;
  mbs::Window window;
  bool wants_dx = false;  ///< false for the first layer: nobody wants the gradient of the images
};

/// Seconds of one pass of a convolution, and which of oneDNN's implementations it was.
struct Timed {
  double seconds = 0;
  std::string implementation;
};

/// Of one algorithm; a pass that it cannot do is empty.
struct Passes {
  std::optional<Timed> forward, data, weights;
};

Shape parse_shape(const std::string& text) {
  int sizes[3] = {};
  const char *at = text.data(), *end = at + text.size();
  for (int& size : sizes) {
    const auto [rest, error] = std::from_chars(at, end, size);
    if (error != std::errc() || size < 1) fail("'{}' is not an input such as 32x32x16", text);
    at = rest == end ? rest : rest + 1;
  }
  return {sizes[0], sizes[1], sizes[2]};
}

Convolution parse_convolution(const Json& row) {
  Convolution c;
  c.spec = row.at("spec").get<std::string>();
  c.input = row.at("input").get<std::string>();
  c.count = row.at("count").get<int>();
  c.in = parse_shape(c.input);
  const Spec spec = Spec::parse(c.spec);
  c.window = {spec.required_extent("kernel"), spec.extent_or("stride", {1, 1}, 1),
              spec.extent_or("pad", {0, 0})};
  c.out = mbs::window_shape(spec, c.in, c.window, spec.required_int("out"));
  return c;
}

/// The convolutions in the output of `mbs bench kernels NET --kind conv2d --json`: it has a row for every
/// pass.
std::vector<Convolution> read_convolutions(std::istream& in) {
  std::vector<Convolution> convolutions;
  const Json json = Json::parse(in);  // `rows` lives in it
  for (const Json& row : json.at("rows")) {
    if (row.at("kind") != "conv2d") continue;
    const Convolution c = parse_convolution(row);
    const auto same = [&](const Convolution& other) {
      return other.spec == c.spec && other.input == c.input;
    };
    const auto found = std::find_if(convolutions.begin(), convolutions.end(), same);
    Convolution& known = found == convolutions.end() ? convolutions.emplace_back(c) : *found;
    known.wants_dx = known.wants_dx || row.at("pass") == "data";
  }
  if (convolutions.empty()) fail("standard input names no conv2d");
  return convolutions;
}

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

/// Memory of a layout that oneDNN has chosen, filled with numbers in [-0.5, 0.5).
memory filled(const memory::desc& layout) {
  memory m(layout, engine());
  float* values = static_cast<float*>(m.get_data_handle());
  for (size_t i = 0; i < layout.get_size() / sizeof(float); ++i)
    values[i] = static_cast<float>(i * 2654435761u % 1000) * 1e-3f - 0.5f;
  return m;
}

/// Median seconds of one call, after one that is not counted.
template <class Description, class Primitive>
Timed time_calls(const Description& description, const Primitive& primitive,
                 const std::unordered_map<int, memory>& operands) {
  dnnl::stream stream(engine());
  const auto seconds_of = [&](int64_t times) {
    mbs::Stopwatch watch;
    for (int64_t i = 0; i < times; ++i) primitive.execute(stream, operands);
    stream.wait();
    return watch.seconds();
  };
  seconds_of(1);
  const int64_t times = mbs::repetitions(kSecondsOfMeasurement, seconds_of);
  std::vector<double> seconds;
  for (int i = 0; i < kMeasurements; ++i) seconds.push_back(seconds_of(times) / static_cast<double>(times));
  return {mbs::median(seconds), description.impl_info_str()};
}

/// Calls `timed()`, which oneDNN may refuse.
template <class Body>
std::optional<Timed> where_possible(const Body& timed) {
  try {
    return timed();
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_unimplemented) return {};
    throw;
  }
}

/// Padding behind the image: what the last window reaches beyond it.
int pad_behind(int out, int stride, int kernel, int in, int pad) {
  return (out - 1) * stride + kernel - in - pad;
}

Passes time_passes(const Convolution& c, int batch, dnnl::algorithm algorithm) {
  const auto layout = [](memory::dims sizes) {
    return memory::desc(sizes, memory::data_type::f32, memory::format_tag::any);
  };
  const auto& [kernel, stride, pad] = c.window;
  const auto x = layout({batch, c.in.c, c.in.h, c.in.w}), y = layout({batch, c.out.c, c.out.h, c.out.w});
  const auto w = layout({c.out.c, c.in.c, kernel.h, kernel.w});
  const memory::dims strides = {stride.h, stride.w}, before = {pad.h, pad.w};
  const memory::dims behind = {pad_behind(c.out.h, stride.h, kernel.h, c.in.h, pad.h),
                               pad_behind(c.out.w, stride.w, kernel.w, c.in.w, pad.w)};
  using Forward = dnnl::convolution_forward;
  using Data = dnnl::convolution_backward_data;
  using Weights = dnnl::convolution_backward_weights;
  const auto forward = [&] {
    return Forward::primitive_desc(
        {dnnl::prop_kind::forward_training, algorithm, x, w, y, strides, before, behind}, engine());
  };

  Passes passes;
  passes.forward = where_possible([&] {
    const auto f = forward();
    return time_calls(f, Forward(f),
                      {{DNNL_ARG_SRC, filled(f.src_desc())},
                       {DNNL_ARG_WEIGHTS, filled(f.weights_desc())},
                       {DNNL_ARG_DST, filled(f.dst_desc())}});
  });
  passes.weights = where_possible([&] {
    const Weights::primitive_desc d({algorithm, x, w, y, strides, before, behind}, engine(), forward());
    return time_calls(d, Weights(d),
                      {{DNNL_ARG_SRC, filled(d.src_desc())},
                       {DNNL_ARG_DIFF_WEIGHTS, filled(d.diff_weights_desc())},
                       {DNNL_ARG_DIFF_DST, filled(d.diff_dst_desc())}});
  });
  if (!c.wants_dx) return passes;
  passes.data = where_possible([&] {
    const Data::primitive_desc d({algorithm, x, w, y, strides, before, behind}, engine(), forward());
    return time_calls(d, Data(d),
                      {{DNNL_ARG_DIFF_SRC, filled(d.diff_src_desc())},
                       {DNNL_ARG_WEIGHTS, filled(d.weights_desc())},
                       {DNNL_ARG_DIFF_DST, filled(d.diff_dst_desc())}});
  });
  return passes;
}

std::optional<Timed> faster(const std::optional<Timed>& a, const std::optional<Timed>& b) {
  return !b || (a && a->seconds <= b->seconds) ? a : b;
}

Passes best_passes(const Convolution& c, int batch, bool try_winograd) {
  const Passes direct = time_passes(c, batch, dnnl::algorithm::convolution_direct);
  if (!direct.forward || !direct.weights || c.wants_dx != direct.data.has_value())
    fail("oneDNN cannot do '{}' on {} directly", c.spec, c.input);
  if (!try_winograd) return direct;
  const Passes winograd = time_passes(c, batch, dnnl::algorithm::convolution_winograd);
  return {faster(direct.forward, winograd.forward), faster(direct.data, winograd.data),
          faster(direct.weights, winograd.weights)};
}

Json measure(const std::vector<Convolution>& convolutions, int batch, const std::string& algorithm) {
  double seconds = 0;
  Json layers = Json::array();
  for (const Convolution& c : convolutions) {
    const Passes passes = best_passes(c, batch, algorithm == "winograd");
    Json layer = {{"spec", c.spec}, {"input", c.input}, {"count", c.count}};
    const auto add = [&](const char* pass, const std::optional<Timed>& timed) {
      if (!timed) return;
      layer[pass] = {{"seconds", timed->seconds}, {"implementation", timed->implementation}};
      seconds += c.count * timed->seconds;
    };
    add("forward", passes.forward);
    add("data", passes.data);
    add("weights", passes.weights);
    layers.push_back(layer);
  }
  const dnnl_version_t& version = *dnnl_version();
  return {{"version", fmt::format("{}.{}.{}", version.major, version.minor, version.patch)},
          {"algorithm", algorithm},
          {"batch_size", batch},
          {"images_per_second", batch / seconds},
          {"seconds_per_step", seconds},
          {"layers", layers}};
}

int run(const std::vector<std::string>& arguments) {
  int batch = 0;
  const bool two = arguments.size() == 2;
  if (two) std::from_chars(arguments[0].data(), arguments[0].data() + arguments[0].size(), batch);
  if (!two || batch < 1 || (arguments[1] != "direct" && arguments[1] != "winograd"))
    fail_usage(
        "usage: mbs bench kernels NET --kind conv2d --json | OMP_NUM_THREADS=N onednn_convolutions BATCH "
        "direct|winograd");
  fmt::print("{}\n", measure(read_convolutions(std::cin), batch, arguments[1]).dump());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const mbs::Error& error) {
    fmt::print(stderr, "onednn_convolutions: {}\n", error.what());
    return error.kind() == mbs::ErrorKind::usage ? 2 : 1;
  } catch (const Json::exception& error) {
    fmt::print(stderr, "onednn_convolutions: standard input is not what mbs bench kernels prints: {}\n",
               error.what());
  } catch (const dnnl::error& error) {
    fmt::print(stderr, "onednn_convolutions: oneDNN failed: {}\n", error.what());
  }
  return 1;
}
