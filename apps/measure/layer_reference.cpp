#include "apps/measure/layer_reference.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "engine/spec.h"
#include "layers/kernels/conv_reference.h"
#include "layers/shapes.h"

namespace mbs {
namespace {

using Doubles = std::vector<double>;

Doubles zeros(int64_t n) { return Doubles(static_cast<size_t>(n)); }

/// Collects the error of one array.
class Difference {
 public:
  void compare(std::span<const real> got, const Doubles& expected) {
    for (size_t i = 0; i < expected.size(); ++i) {
      const double difference = std::abs(static_cast<double>(got[i]) - expected[i]);
      if (!(difference <= difference_)) difference_ = std::isnan(difference) ? kInfinity : difference;
      largest_ = std::max(largest_, std::abs(expected[i]));
    }
    seen_ = seen_ || !expected.empty();
  }
  std::optional<double> relative() const {
    if (!seen_) return std::nullopt;
    return largest_ > 0 ? difference_ / largest_ : difference_ > 0 ? kInfinity : 0;
  }

 private:
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double difference_ = 0, largest_ = 0;
  bool seen_ = false;
};

template <class T>
std::span<const T> sample(std::span<const T> all, int s, int64_t elems) {
  return all.subspan(static_cast<size_t>(s * elems), static_cast<size_t>(elems));
}

/// What a layer's reference is given, and where it leaves its findings.
struct Check {
  const Spec& spec;
  LayerRun& run;
  bool backward;
  Difference y{}, dx{}, dparams{};

  void run_layer() {
    run.forward();
    run.clear_dparams();
    if (!backward) return;
    run.backward(LayerRun::Gradients::all);
    run.finish_gradients();
  }
};

// --- convolutions and fully connected layers ---

ConvShape conv_shape(const Spec& spec, const Layer& layer) {
  if (spec.layer() == "linear")
    return {{1, 1, static_cast<int>(layer.in_shape().elems())}, layer.out_shape(), {1, 1}, {1, 1}, {0, 0}};
  return {layer.in_shape(), layer.out_shape(), spec.required_extent("kernel"),
          spec.extent_or("stride", {1, 1}, 1), spec.extent_or("pad", {0, 0})};
}

void check_convolution(Check& c) {
  const ConvShape shape = conv_shape(c.spec, c.run.layer());
  const bool has_bias = c.run.layer().params().size() > 1;
  std::vector<int> samples = {0};
  if (c.run.samples() > 1) samples.push_back(c.run.samples() - 1);
  c.run.set_dy(samples);
  c.run_layer();
  const int64_t in = shape.in.elems(), out = shape.out.elems();
  Doubles dw = zeros(shape.weight_elems()), db = zeros(has_bias ? shape.out.c : 0);
  for (const int s : samples) {
    const real *x = c.run.x(0).data() + s * in, *dy = c.run.dy().data() + s * out;
    Doubles y = zeros(out), dx = zeros(in);
    reference_forward(shape, x, c.run.params(0).data(), y.data());
    const auto channels = static_cast<size_t>(shape.out.c);
    for (size_t i = 0; has_bias && i < y.size(); ++i) {
      y[i] += static_cast<double>(c.run.params(1)[i % channels]);
      db[i % channels] += static_cast<double>(dy[i]);
    }
    c.y.compare(sample(c.run.y(), s, out), y);
    if (!c.backward) continue;
    reference_weight_gradient(shape, x, dy, dw.data());
    if (!c.run.wants_dx()) continue;
    reference_data_gradient(shape, dy, c.run.params(0).data(), dx.data());
    c.dx.compare(sample(c.run.dx(0), s, in), dx);
  }
  if (!c.backward) return;
  c.dparams.compare(c.run.dparams(0), dw);
  if (has_bias) c.dparams.compare(c.run.dparams(1), db);
}

// --- norms ---

/// Normalises one set of elements: calls members(visit), which calls visit(index of element, channel).
template <class Members>
void check_normalized_set(const Check& c, const Members& members, Doubles& y, Doubles& dx, Doubles& dscale,
                          Doubles& dshift) {
  const double eps = c.spec.number_or("eps", 1e-5, 0, 1);
  const bool relu = c.spec.int_or("relu", 0) != 0;
  const std::span<const real> x = c.run.x(0), scale = c.run.params(0), shift = c.run.params(1);
  double count = 0, mean = 0, variance = 0;
  members([&](size_t i, size_t) { count += 1, mean += static_cast<double>(x[i]); });
  mean /= count;
  members([&](size_t i, size_t) { variance += std::pow(static_cast<double>(x[i]) - mean, 2) / count; });
  const double inverse = 1 / std::sqrt(variance + eps);
  const auto normal = [&](size_t i) { return (static_cast<double>(x[i]) - mean) * inverse; };
  // What the kernel let through, so that a value that rounding moved over zero is no error.
  const auto gradient = [&](size_t i) {
    return relu && c.run.y()[i] <= 0 ? 0 : static_cast<double>(c.run.dy()[i]);
  };
  double by_one = 0, by_normal = 0;
  members([&](size_t i, size_t channel) {
    const double value =
        normal(i) * static_cast<double>(scale[channel]) + static_cast<double>(shift[channel]);
    y[i] = relu ? std::max(value, 0.) : value;
    dshift[channel] += gradient(i);
    dscale[channel] += gradient(i) * normal(i);
    by_one += gradient(i) * static_cast<double>(scale[channel]) / count;
    by_normal += gradient(i) * static_cast<double>(scale[channel]) * normal(i) / count;
  });
  members([&](size_t i, size_t channel) {
    dx[i] = inverse * (gradient(i) * static_cast<double>(scale[channel]) - by_one - normal(i) * by_normal);
  });
}

void check_norm(Check& c) {
  c.run_layer();
  const Shape& shape = c.run.layer().out_shape();
  const bool batch = c.spec.layer() == "batch_norm";
  const int per_group = c.spec.int_or("channels", 0);
  const int groups = batch ? shape.c : per_group > 0 ? shape.c / per_group : c.spec.int_or("groups", 1);
  const auto channels = static_cast<size_t>(shape.c), width = channels / static_cast<size_t>(groups);
  const size_t sets = batch ? 1 : static_cast<size_t>(c.run.samples());  // of samples
  const size_t pixels = c.run.y().size() / channels / sets;
  Doubles y = zeros(std::ssize(c.run.y())), dx = y, dscale = zeros(shape.c), dshift = dscale;
  for (size_t s = 0; s < sets; ++s)
    for (size_t g = 0; g < static_cast<size_t>(groups); ++g)
      check_normalized_set(
          c,
          [&](const auto& visit) {
            for (size_t p = s * pixels; p < (s + 1) * pixels; ++p)
              for (size_t k = g * width; k < (g + 1) * width; ++k) visit(p * channels + k, k);
          },
          y, dx, dscale, dshift);
  c.y.compare(c.run.y(), y);
  if (!c.backward) return;
  if (c.run.wants_dx()) c.dx.compare(c.run.dx(0), dx);
  c.dparams.compare(c.run.dparams(0), dscale);
  c.dparams.compare(c.run.dparams(1), dshift);
}

// --- layers whose outputs are weighted sums of a few inputs ---

/// Told one product: output element of a sample, input and its element, weight.
using Visit = std::function<void(int64_t out, size_t input, int64_t in, double weight)>;

template <class Body>
void for_each_output(const Shape& out, const Body& body) {
  for (int h = 0; h < out.h; ++h)
    for (int w = 0; w < out.w; ++w)
      for (int k = 0; k < out.c; ++k) body(h, w, k, (int64_t{h} * out.w + w) * out.c + k);
}

/// The elements of a pooling window that lie inside of the image.
template <class Body>
void for_each_tap(const Shape& in, const Window& window, int h, int w, int k, const Body& body) {
  const Taps rows = taps_inside(h, window.stride.h, window.pad.h, window.kernel.h, in.h);
  const Taps columns = taps_inside(w, window.stride.w, window.pad.w, window.kernel.w, in.w);
  for (int i = rows.begin; i < rows.end; ++i)
    for (int j = columns.begin; j < columns.end; ++j)
      body((int64_t{rows.first + i} * in.w + columns.first + j) * in.c + k);
}

void visit_average(const Spec& spec, const Layer& layer, const Visit& visit) {
  const Shape& in = layer.in_shape();
  const bool global = spec.layer() == "global_avg_pool";
  const Window window = global ? Window{{in.h, in.w}, {1, 1}, {0, 0}} : pooling_window(spec);
  const bool count_pad = global || spec.int_or("count_pad", 1) != 0;
  for_each_output(layer.out_shape(), [&](int h, int w, int k, int64_t out) {
    double taps = 0;
    for_each_tap(in, window, h, w, k, [&](int64_t) { taps += 1; });
    if (count_pad) taps = double{1} * window.kernel.h * window.kernel.w;
    for_each_tap(in, window, h, w, k, [&](int64_t element) { visit(out, 0, element, 1 / taps); });
  });
}

void visit_maximum(const Spec& spec, const Layer& layer, std::span<const real> x, const Visit& visit) {
  const Window window = pooling_window(spec);
  for_each_output(layer.out_shape(), [&](int h, int w, int k, int64_t out) {
    int64_t best = -1;
    for_each_tap(layer.in_shape(), window, h, w, k, [&](int64_t element) {
      if (best < 0 || x[static_cast<size_t>(element)] > x[static_cast<size_t>(best)]) best = element;
    });
    visit(out, 0, best, 1);
  });
}

void visit_shortcut(const Spec& spec, const Layer& layer, const Visit& visit) {
  const Shape &in = layer.in_shape(), &shape = layer.out_shape();
  const int stride = spec.int_or("stride", 2, 1), before = (shape.c - in.c) / 2;
  for_each_output(shape, [&](int h, int w, int k, int64_t out) {
    if (k >= before && k < before + in.c)
      visit(out, 0, (int64_t{h} * stride * in.w + w * stride) * in.c + k - before, 1);
  });
}

void visit_concat(const Layer& layer, const Visit& visit) {
  const Shape& shape = layer.out_shape();
  int first = 0;
  for (size_t i = 0; i < layer.in_shapes().size(); first += layer.in_shapes()[i++].c) {
    const int channels = layer.in_shapes()[i].c;
    for (int64_t p = 0; p < shape.pixels(); ++p)
      for (int k = 0; k < channels; ++k) visit(p * shape.c + first + k, i, p * channels + k, 1);
  }
}

void visit_sum(const Layer& layer, const Visit& visit) {
  for (size_t i = 0; i < layer.in_shapes().size(); ++i)
    for (int64_t e = 0; e < layer.out_shape().elems(); ++e) visit(e, i, e, 1);
}

/// False: it is no such layer.
bool visit_products(const Spec& spec, const Layer& layer, std::span<const real> x, const Visit& visit) {
  const std::string& name = spec.layer();
  if (name == "avg_pool" || name == "global_avg_pool")
    visit_average(spec, layer, visit);
  else if (name == "max_pool")
    visit_maximum(spec, layer, x, visit);
  else if (name == "pad_shortcut")
    visit_shortcut(spec, layer, visit);
  else if (name == "concat")
    visit_concat(layer, visit);
  else if (name == "add" || name == "relu")
    visit_sum(layer, visit);
  else
    return false;
  return true;
}

void check_products(Check& c) {
  const Layer& layer = c.run.layer();
  const bool relu = c.spec.layer() == "relu" || c.spec.int_or("relu", 0) != 0;
  const int64_t out = layer.out_shape().elems();
  const auto value = [](std::span<const real> of, int64_t i) { return double{of[static_cast<size_t>(i)]}; };
  if (!visit_products(c.spec, layer, c.run.x(0), [](int64_t, size_t, int64_t, double) {})) return;
  c.run_layer();
  for (int s = 0; s < c.run.samples(); ++s) {
    std::vector<std::span<const real>> x;
    std::vector<Doubles> dx;
    for (size_t i = 0; i < layer.in_shapes().size(); ++i) {
      x.push_back(sample(c.run.x(i), s, layer.in_shapes()[i].elems()));
      dx.push_back(zeros(layer.in_shapes()[i].elems()));
    }
    const auto got = sample(c.run.y(), s, out), dy = sample(c.run.dy(), s, out);
    Doubles y = zeros(out);
    visit_products(c.spec, layer, x[0], [&](int64_t o, size_t input, int64_t e, double weight) {
      y[static_cast<size_t>(o)] += weight * value(x[input], e);
      if (!relu || value(got, o) > 0) dx[input][static_cast<size_t>(e)] += weight * value(dy, o);
    });
    for (double& v : y) v = relu ? std::max(v, 0.) : v;
    c.y.compare(got, y);
    for (size_t i = 0; c.backward && c.run.wants_dx() && i < dx.size(); ++i)
      c.dx.compare(sample(c.run.dx(i), s, layer.in_shapes()[i].elems()), dx[i]);
  }
}

}  // namespace

double Residuals::largest() const { return std::max({y.value_or(0), dx.value_or(0), dparams.value_or(0)}); }

Residuals measure_residuals(std::string_view text, LayerRun& run, bool backward) {
  const Spec spec = Spec::parse(text);
  Check check{spec, run, backward};
  if (spec.layer() == "conv2d" || spec.layer() == "linear")
    check_convolution(check);
  else if (spec.layer() == "group_norm" || spec.layer() == "batch_norm")
    check_norm(check);
  else
    check_products(check);
  return {check.y.relative(), check.dx.relative(), check.dparams.relative()};
}

}  // namespace mbs
