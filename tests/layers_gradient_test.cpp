// backward is the derivative of forward: f = dot(y, r) for a random r (a loss: its mean), differentiated by
// central differences of forward alone. In double every element of every input and parameter, to 1e-7. In
// float, where single differences drown in rounding, random directions to a few percent: that sees the float
// kernels, not the last digits.

#include <algorithm>
#include <cmath>
#include <functional>

#include "engine/check.h"
#include "engine/random.h"
#include "tests/doctest.h"
#include "tests/layer_harness.h"

namespace mbs::testing {
namespace {

constexpr bool kDouble = sizeof(real) == sizeof(double);
constexpr double kTolerance = kDouble ? 1e-7 : 5e-2;
constexpr double kNegligible = 1e-3;
constexpr int kSamples = 3;

double value(const Layer& layer, const Inputs& in) {
  const Run run = run_layer(layer, in, {.backward = false});
  double f = 0;
  if (layer.is_loss())
    for (size_t s = 0; s < in.labels.size(); ++s)
      f += static_cast<double>(run.y[s * static_cast<size_t>(layer.out_shape().c)]) / kSamples;
  else
    for (size_t i = 0; i < run.y.size(); ++i)
      f += static_cast<double>(run.y[i]) * static_cast<double>(in.dy[i]);
  return f;
}

// Sample `s` of the inputs alone: all that its elements can change, unless the layer couples samples.
Inputs one_sample(const Layer& layer, const Inputs& in, int s) {
  const auto cut = [s](const auto& array, int64_t elems) {
    return std::remove_cvref_t<decltype(array)>(array.begin() + s * elems, array.begin() + (s + 1) * elems);
  };
  Inputs one = in;
  one.samples = 1;
  one.first_sample += s;
  for (size_t i = 0; i < in.x.size(); ++i) one.x[i] = cut(in.x[i], layer.in_shapes()[i].elems());
  one.dy = cut(in.dy, layer.out_shape().elems());
  if (!in.labels.empty()) one.labels = cut(in.labels, 1);
  return one;
}

// The largest difference of an array, and the largest error of its gradient.
struct Comparison {
  double largest = 0, worst = 0;

  std::string fault() const {
    if (!(largest > kNegligible)) return fmt::format("the gradient is negligible ({})", largest);
    if (!(worst <= kTolerance * std::max(largest, 1.0)))
      return fmt::format("error {} at scale {}", worst, largest);
    return "";
  }
};

// Compares `gradient` with differences in every element of `array`, a part of `in`.
void compare_elements(const Layer& layer, Inputs& in, std::vector<real>& array, const real* gradient,
                      Comparison& result) {
  const double step = 1e-5;
  for (size_t i = 0; i < array.size(); ++i) {
    const real before = array[i];
    array[i] = static_cast<real>(static_cast<double>(before) + step);
    const double right = value(layer, in);
    array[i] = static_cast<real>(static_cast<double>(before) - step);
    const double wanted = (right - value(layer, in)) / (2 * step);
    array[i] = before;
    const double error = std::abs(static_cast<double>(gradient[i]) - wanted);
    result.largest = std::max(result.largest, std::abs(wanted));
    result.worst = error > result.worst || std::isnan(error) ? error : result.worst;
  }
}

double side_of(const Random& sides, size_t i) { return sides.bits(i) % 2 == 0 ? 1 : -1; }

// f where every element of `array`, a part of `in`, is moved by `step` to a side that `sides` draws.
double value_beside(const Layer& layer, Inputs& in, std::vector<real>& array, double step,
                    const Random& sides) {
  const std::vector<real> before = array;
  for (size_t i = 0; i < array.size(); ++i)
    array[i] = static_cast<real>(static_cast<double>(before[i]) + step * side_of(sides, i));
  const double f = value(layer, in);
  array = before;
  return f;
}

// Compares the gradient along random directions of +-1, relative to its length.
std::string compare_directions(const Layer& layer, Inputs& in, std::vector<real>& array,
                               const real* gradient) {
  const double step = std::min(1e-2, 0.4 / static_cast<double>(array.size()));  // crosses no kink of the grid
  double length = 0;
  for (size_t i = 0; i < array.size(); ++i)
    length += static_cast<double>(gradient[i]) * static_cast<double>(gradient[i]);
  length = std::sqrt(length);
  if (!(length > kNegligible)) return fmt::format("the gradient is negligible ({})", length);
  for (uint64_t k = 0; k < 4; ++k) {
    const Random sides(k, Stream::test, 3);
    double slope = 0;
    for (size_t i = 0; i < array.size(); ++i) slope += static_cast<double>(gradient[i]) * side_of(sides, i);
    const double right = value_beside(layer, in, array, step, sides);
    const double left = value_beside(layer, in, array, -step, sides);
    const double error = std::abs(slope - (right - left) / (2 * step));
    if (!(error <= kTolerance * length)) return fmt::format("error {} at scale {}", error, length);
  }
  return "";
}

std::string named(const std::string& what, size_t i, const std::string& fault) {
  return fault.empty() ? "" : fmt::format("{}[{}]: {}; ", what, i, fault);
}

std::string check_input(const Layer& layer, Inputs& in, size_t i, const real* dx) {
  if (!kDouble) return compare_directions(layer, in, in.x[i], dx);
  Comparison result;
  if (layer.couples_samples()) {
    compare_elements(layer, in, in.x[i], dx, result);
    return result.fault();
  }
  for (int s = 0; s < in.samples; ++s) {
    Inputs one = one_sample(layer, in, s);
    compare_elements(layer, one, one.x[i], dx + s * layer.in_shapes()[i].elems(), result);
  }
  return result.fault();
}

std::string check_param(const Layer& layer, Inputs& in, size_t i, const Run& run) {
  std::vector<real> gradient = run.dparams[i];
  for (size_t k = 0; k < gradient.size(); ++k) gradient[k] -= run.dparams_before[i][k];
  if (!kDouble) return compare_directions(layer, in, in.params[i], gradient.data());
  Comparison result;
  compare_elements(layer, in, in.params[i], gradient.data(), result);
  return result.fault();
}

std::string check_derivative(const Layer& layer, const Run& run, Inputs in) {
  std::string faults;
  for (size_t i = 0; i < in.x.size(); ++i)
    faults += named("dx", i, check_input(layer, in, i, run.dx[i].data()));
  for (size_t i = 0; i < in.params.size(); ++i) faults += named("dparams", i, check_param(layer, in, i, run));
  return faults;
}

// dx that is added is what was there plus the dx that is assigned, up to the rounding of one addition per
// term.
std::string check_added(const Run& assigned, const Run& added) {
  std::string faults;
  for (size_t i = 0; i < added.dx.size(); ++i) {
    double worst = 0;
    for (size_t k = 0; k < added.dx[i].size(); ++k) {
      const double wanted =
          static_cast<double>(added.dx_before[i][k]) + static_cast<double>(assigned.dx[i][k]);
      const double error = std::abs(static_cast<double>(added.dx[i][k]) - wanted) / (1 + std::abs(wanted));
      worst = error > worst || std::isnan(error) ? error : worst;
    }
    if (!(worst < (kDouble ? 1e-13 : 1e-5))) faults += fmt::format("added dx[{}]: error {}; ", i, worst);
  }
  return faults;
}

/// Empty if backward is right, else what is wrong.
std::string check_gradient(const Layer& layer) {
  const Inputs in = make_inputs(layer, kSamples, 42);
  const Run run = run_layer(layer, in, {});
  std::string faults =
      check_derivative(layer, run, in) + check_added(run, run_layer(layer, in, {.add_to_dx = true}));
  const Run without = run_layer(layer, in, {.wants_dx = false});
  const Run half = run_layer(layer, in, {.every_second_dx = true});
  for (size_t i = 0; i < in.params.size(); ++i)
    if (!same_bits(run.dparams[i], without.dparams[i]) || !same_bits(run.dparams[i], half.dparams[i]))
      faults += fmt::format("dparams[{}] depends on whether dx is wanted; ", i);
  for (size_t i = 1; i < in.x.size(); i += 2)
    if (!same_bits(run.dx[i], half.dx[i]))
      faults += fmt::format("dx[{}] depends on whether others are wanted; ", i);
  return faults;
}

/// What a planted fault does after the right backward.
struct FaultyBackward final : Wrapper {
  using Fault = std::function<void(const Backward&, const Layer&)>;
  FaultyBackward(const std::string& text, Fault f) : Wrapper(text), fault(std::move(f)) {}
  void backward(const Backward& b) const override {
    inner_->backward(b);
    fault(b, *this);
  }
  Fault fault;
};

int64_t dx_elems(const Backward& b, const Layer& layer) {
  return b.dx[0] ? b.samples * layer.in_shape().elems() : 0;
}

bool sees(const std::string& text, const FaultyBackward::Fault& fault) {
  const std::string fault_seen = check_gradient(FaultyBackward(text, fault));
  CAPTURE(fault_seen);
  return !fault_seen.empty();
}

}  // namespace

TEST_CASE("layers: backward is the derivative of forward") {
  for (const Subject& subject : all_subjects()) {
    CAPTURE(subject.text);
    EXPECT(check_gradient(*subject.layer) == "");
  }
}

TEST_CASE("layers: the gradient check sees planted faults") {
  for (const std::string text : {"relu | 3x5x7", "softmax_loss | 1x1x5", "group_norm groups=2 | 3x5x6",
                                 "batch_norm | 3x2x4", "add | 2x3x5 2x3x5"}) {
    CAPTURE(text);
    EXPECT(check_gradient(FaultyBackward(text, [](const Backward&, const Layer&) {})) == "");
    EXPECT(sees(text, [](const Backward& b, const Layer& layer) {
      for (int64_t i = 0; i < dx_elems(b, layer); ++i) b.dx[0][i] *= 3;
    }));
    EXPECT(sees(text, [](const Backward& b, const Layer& layer) {
      std::fill_n(b.dx[0], dx_elems(b, layer), real(0));
    }));
    EXPECT(
        sees(text, [](const Backward& b, const Layer& layer) {  // as if the last element were never written
          if (b.dx[0]) b.dx[0][dx_elems(b, layer) - 1] = std::nan("");
        }));
    EXPECT(sees(text, [](const Backward& b, const Layer& layer) {  // assigns where it should add
      if (b.dx[0] && b.add_to_dx[0]) std::fill_n(b.dx[0], dx_elems(b, layer), real(0));
    }));
  }
  const std::string norm = "group_norm groups=2 | 3x5x6";
  if (kDouble)
    EXPECT(sees(norm, [](const Backward& b, const Layer& layer) {
      for (int64_t i = 0; i < dx_elems(b, layer); ++i) b.dx[0][i] *= real(1 + 1e-5);
    }));
  EXPECT(sees(norm, [](const Backward& b, const Layer&) { b.dparams[1][5] = 0; }));
  EXPECT(sees(norm, [](const Backward& b, const Layer&) {
    if (b.dx[0]) b.dparams[0][0] += 1;
  }));
}

}  // namespace mbs::testing
