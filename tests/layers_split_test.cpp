// A layer does not mix samples: over any split of the batch it gives the same bits, gradients of parameters
// included. And it writes all of its outputs, nothing but its outputs, and needs no more than it declares.

#include "engine/check.h"
#include "tests/doctest.h"
#include "tests/layer_harness.h"

namespace mbs::testing {
namespace {

constexpr int kSamples = 7;

std::string compare(const Run& a, const Run& b) {
  std::string faults;
  const auto expect_same = [&](bool same, const std::string& what) {
    if (!same) faults += what + " differs; ";
  };
  expect_same(same_bits(a.y, b.y), "y");
  expect_same(same_bits(a.aux, b.aux), "aux");
  for (size_t i = 0; i < a.dx.size(); ++i) expect_same(same_bits(a.dx[i], b.dx[i]), fmt::format("dx[{}]", i));
  for (size_t i = 0; i < a.dparams.size(); ++i)
    expect_same(same_bits(a.dparams[i], b.dparams[i]), fmt::format("dparams[{}]", i));
  return faults;
}

// What differs between the whole batch in one chunk and in several; empty: nothing.
std::string check_split(const Layer& layer, const RunOptions& options) {
  Inputs in = make_inputs(layer, kSamples, 3);
  if (!in.labels.empty()) in.labels[2] = -1;
  const Run whole = run_layer(layer, in, options);
  std::string faults;
  for (uint64_t split = 0; split < 4; ++split) {
    RunOptions parts = options;
    parts.chunks = split == 0 ? std::vector<int>(kSamples, 1) : random_chunks(kSamples, split);
    faults += compare(whole, run_layer(layer, in, parts));
  }
  return faults;
}

std::string check_buffers(const Layer& layer, const RunOptions& options) {
  const Inputs in = make_inputs(layer, kSamples, 4);
  const Run run = run_layer(layer, in, options);
  std::string faults = run.overrun.empty() ? "" : "written beyond: " + run.overrun + "; ";
  if (!all_finite(run.y)) faults += "y is not all written; ";
  for (size_t i = 0; options.backward && i < run.dx.size(); ++i)
    if (!all_finite(run.dx[i])) faults += fmt::format("dx[{}] is not all written; ", i);
  for (size_t i = 0; i < run.dparams.size(); ++i)
    if (!all_finite(run.dparams[i])) faults += fmt::format("dparams[{}] is not finite; ", i);
  return faults;
}

const RunOptions kAssign, kAdd{.add_to_dx = true}, kParamsOnly{.wants_dx = false},
    kInference{.training = false, .backward = false};

/// Adds the mean of the chunk to every output.
struct MixesSamples final : Wrapper {
  using Wrapper::Wrapper;
  void forward(const Forward& f) const override {
    inner_->forward(f);
    const int64_t n = f.samples * out_.elems();
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(f.y[i]);
    for (int64_t i = 0; i < n; ++i) f.y[i] += static_cast<real>(sum / static_cast<double>(n));
  }
};

/// Random values keyed by the call, not by the sample.
struct CountsCalls final : Wrapper {
  using Wrapper::Wrapper;
  void forward(const Forward& f) const override {
    Forward g = f;
    g.first_sample = calls++;
    inner_->forward(g);
  }
  mutable int calls = 0;
};

/// Sums the parameter gradient of a call before adding it: the right sum in another order.
struct SumsPerCall final : Wrapper {
  using Wrapper::Wrapper;
  void backward(const Backward& b) const override {
    std::vector<real> sum(static_cast<size_t>(in_[0].c), 0), unused(sum);
    std::vector<real*> dparams = {sum.data(), unused.data()};
    Backward c = b;
    c.dparams = dparams;
    inner_->backward(c);
    for (size_t i = 0; i < sum.size(); ++i) b.dparams[0][i] += sum[i], b.dparams[1][i] += unused[i];
  }
};

/// Runs `fault` after forward.
struct FaultyForward final : Wrapper {
  FaultyForward(const std::string& text, void (*f)(const Forward&, const Layer&)) : Wrapper(text), fault(f) {}
  void forward(const Forward& f) const override {
    inner_->forward(f);
    fault(f, *this);
  }
  void (*fault)(const Forward&, const Layer&);
};

}  // namespace

TEST_CASE("layers: any split of the batch gives the same bits") {
  for (const Subject& subject : all_subjects()) {
    CAPTURE(subject.text);
    EXPECT(check_split(*subject.layer, kInference) == "");
    if (subject.layer->couples_samples()) {
      EXPECT(check_split(*subject.layer, kAssign) != "");  // else it needs no whole batch
      continue;
    }
    EXPECT(check_split(*subject.layer, kAssign) == "");
    EXPECT(check_split(*subject.layer, kAdd) == "");
    EXPECT(check_split(*subject.layer, kParamsOnly) == "");
  }
}

TEST_CASE("layers: the split check sees planted faults") {
  EXPECT(check_split(Wrapper("dropout | 3x5x7"), kAssign) == "");
  EXPECT(check_split(MixesSamples("relu | 3x5x7"), kAssign) != "");
  EXPECT(check_split(CountsCalls("dropout | 3x5x7"), kAssign) != "");
  EXPECT(check_split(SumsPerCall("group_norm groups=2 | 3x5x6"), kAssign) != "");
}

TEST_CASE("layers: outputs are written whole, and nothing else") {
  for (const Subject& subject : all_subjects()) {
    CAPTURE(subject.text);
    for (const RunOptions& options : {kAssign, kAdd, kInference})
      EXPECT(check_buffers(*subject.layer, options) == "");
    EXPECT(run_layer(*subject.layer, make_inputs(*subject.layer, kSamples, 4), kParamsOnly).overrun == "");
  }
}

TEST_CASE("layers: the buffer check sees planted faults") {
  const auto faults = [](const std::string& text, void (*fault)(const Forward&, const Layer&)) {
    return check_buffers(FaultyForward(text, fault), kAssign);
  };
  EXPECT(faults("relu | 3x5x7", [](const Forward&, const Layer&) {}) == "");
  EXPECT(faults("relu | 3x5x7", [](const Forward& f, const Layer&) { f.y[3] = real(0) / real(0); }) != "");
  EXPECT(faults("relu | 3x5x7",
                [](const Forward& f, const Layer& l) { f.y[f.samples * l.out_shape().elems()] = 1; }) != "");
  EXPECT(faults("relu | 3x5x7", [](const Forward& f, const Layer&) { f.aux[-1] = std::byte{1}; }) != "");
  EXPECT(faults("group_norm groups=2 | 3x5x6", [](const Forward& f, const Layer& l) {
           f.scratch[l.needs(true).forward_scratch_elems] = 1;
         }) != "");
}

}  // namespace mbs::testing
