// Whole networks against PyTorch: loss, probabilities, every gradient and the running statistics, from the
// fixtures that tests/golden/make_torch_fixtures.py made in float64. Weights and images come from the same
// counter-based random numbers on both sides; all are exact in float.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "engine/data_parallel.h"
#include "engine/optimizer.h"
#include "engine/random.h"
#include "layers/zoo/zoo.h"
#include "tests/doctest.h"

namespace mbs {
namespace {

// Relative to the norm (sums) or to the largest element (elements) of an array. Float: rounding grows with
// depth; the script keeps clear of ReLU and max pool ties, so there are no jumps.
constexpr double kTolerance = sizeof(real) == sizeof(double) ? 1e-12 : 3e-5;

// What a random value is for; as in the script.
enum : uint64_t { kImages, kLabels, kParams, kStates };

/// Multiples of 2^-15 in [-1, 1).
double centred(const Random& random, int64_t i) {
  return (static_cast<double>(random.below(static_cast<uint64_t>(i), 1 << 16)) - 0x1p15) * 0x1p-15;
}

/// What is written of one array: norm, largest magnitude, projection onto a random vector, elements at random
/// places.
struct Digest {
  std::string kind, key, dims;
  double norm = 0, largest = 0, projection = 0;
  std::vector<double> elements;
};

struct Fixture {
  NetworkOptions options;
  uint64_t seed = 0;
  int samples = 0, correct = 0;
  double loss_sum = 0;
  std::vector<double> probabilities;
  std::vector<Digest> gradients, states;
};

Digest read_digest(const std::string& kind, std::istream& words) {
  Digest d{kind, {}, {}, 0, 0, 0, {}};
  words >> d.key >> d.dims >> d.norm >> d.largest >> d.projection;
  for (double v; words >> v;) d.elements.push_back(v);
  return d;
}

void read_option(NetworkOptions& o, const std::string& key, std::istream& words) {
  std::string text;
  if (key == "arch") {
    words >> o.arch;
  } else if (key == "norm") {
    words >> text;
    o.norm = text == "bn" ? Norm::batch : Norm::group;
  } else if (key == "gn_groups") {
    words >> o.gn_groups;
  } else if (key == "gn_channels") {
    words >> o.gn_channels;
  } else if (key == "weight_standardization") {
    words >> o.weight_standardization;
  } else if (key == "shortcut") {
    words >> text;
    o.shortcut = text == "a" ? Shortcut::a : text == "b" ? Shortcut::b : Shortcut::standard;
  } else if (key == "input") {
    words >> o.input.h >> o.input.w >> o.input.c;
  } else if (key == "classes") {
    words >> o.classes;
  } else if (key == "smoothing") {
    words >> o.label_smoothing;
  } else {
    DOCTEST_FAIL("unknown key in a fixture: ", key);
  }
}

Fixture read_fixture(const std::string& name) {
  const auto path = std::filesystem::path(__FILE__).parent_path() / "golden" / (name + ".txt");
  std::ifstream file(path);
  REQUIRE_MESSAGE(file, "cannot read ", path.string(), "; run the tests in the project's top folder");
  Fixture f;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    if (key == "#") continue;
    if (key == "seed") {
      words >> f.seed;
    } else if (key == "samples") {
      words >> f.samples;
    } else if (key == "correct") {
      words >> f.correct;
    } else if (key == "loss_sum") {
      words >> f.loss_sum;
    } else if (key == "probabilities") {
      for (double v; words >> v;) f.probabilities.push_back(v);
    } else if (key == "gradient") {
      f.gradients.push_back(read_digest(key, words));
    } else if (key == "state") {
      f.states.push_back(read_digest(key, words));
    } else {
      read_option(f.options, key, words);
    }
  }
  return f;
}

std::vector<real> filled_params(const Network& network, uint64_t seed) {
  std::vector<real> values(static_cast<size_t>(network.param_array_elems()));
  for (size_t p = 0; p < network.params().size(); ++p) {
    const ParamInfo& info = network.params()[p];
    const Random random(seed, Stream::test, kParams, p);
    double scale = 0.5, shift = info.spec.kind == ParamKind::norm_scale ? 1 : 0;
    if (info.spec.dims.size() > 1) {
      const int64_t fan_in = info.elems / info.spec.dims.back();
      // The power of two at or below sqrt(6 / fan_in).
      scale = std::exp2(std::floor(std::log2(std::sqrt(6 / static_cast<double>(fan_in)))));
    }
    for (int64_t i = 0; i < info.elems; ++i)
      values[static_cast<size_t>(info.offset + i)] = static_cast<real>(shift + scale * centred(random, i));
  }
  return values;
}

std::vector<real> filled_states(const Network& network, uint64_t seed) {
  std::vector<real> values(static_cast<size_t>(network.state_array_elems()));
  for (size_t s = 0; s < network.states().size(); ++s) {
    const StateInfo& info = network.states()[s];
    const Random random(seed, Stream::test, kStates, s);
    const double shift = info.spec.name == "running_var" ? 1 : 0;
    for (int64_t i = 0; i < info.spec.elems; ++i)
      values[static_cast<size_t>(info.offset + i)] = static_cast<real>(shift + 0.5 * centred(random, i));
  }
  return values;
}

/// The mini-batch of a fixture, and what the engine makes of it.
struct Run {
  std::vector<real> images, gradients, states, probabilities;
  std::vector<int> labels;
  BatchResult result;
};

Run run(const Network& network, const Fixture& f, int cores, const Schedule& schedule) {
  Run r;
  const Random images(f.seed, Stream::test, kImages), labels(f.seed, Stream::test, kLabels);
  for (int64_t i = 0; i < f.samples * f.options.input.elems(); ++i)
    r.images.push_back(static_cast<real>(2 * centred(images, i)));
  for (int i = 0; i < f.samples; ++i)
    r.labels.push_back(
        static_cast<int>(labels.below(static_cast<uint64_t>(i), static_cast<uint64_t>(f.options.classes))));
  const std::vector<real> params = filled_params(network, f.seed);
  r.states = filled_states(network, f.seed);

  const Batch batch{f.samples, r.images.data(), r.labels.data()};
  DataParallel trainer(network, schedule, f.samples, cores, cores);
  r.result = trainer.step(batch, StepKey{f.seed, 0}, params, r.states);
  r.gradients.assign(trainer.gradients().begin(), trainer.gradients().end());
  DataParallel evaluator(network, forward_only(network, f.samples, 2), f.samples, 1, 1);
  r.probabilities.resize(static_cast<size_t>(f.samples) * static_cast<size_t>(f.options.classes));
  evaluator.evaluate(batch, params, r.states, r.probabilities);
  return r;
}

Digest digest(const real* values, int64_t elems, size_t sampled) {
  Digest d;
  for (int64_t i = 0; i < elems; ++i) {
    const double v = static_cast<double>(values[i]);
    const double direction = static_cast<double>(mix_bits(static_cast<uint64_t>(i)) >> 48) * 0x1p-15 - 1;
    d.norm += v * v;
    d.largest = std::max(d.largest, std::abs(v));
    d.projection += v * direction;
  }
  d.norm = std::sqrt(d.norm);
  for (size_t k = 0; k < sampled; ++k)
    d.elements.push_back(static_cast<double>(values[mix_bits(k) % static_cast<uint64_t>(elems)]));
  return d;
}

/// One line for every number of an array that is not PyTorch's.
void compare_array(const Digest& want, const real* values, int64_t elems,
                   std::vector<std::string>& problems) {
  const Digest got = digest(values, elems, want.elements.size());
  const auto compare = [&](const std::string& what, double a, double b, double scale) {
    if (!(std::abs(a - b) <= kTolerance * scale))  // written so that NaN is a problem
      problems.push_back(
          fmt::format("{} {}: {} is {:.9g}, PyTorch has {:.9g}", want.kind, want.key, what, a, b));
  };
  compare("norm", got.norm, want.norm, want.norm);
  compare("largest", got.largest, want.largest, want.largest);
  compare("projection", got.projection, want.projection, want.norm);
  for (size_t k = 0; k < want.elements.size(); ++k)
    compare(fmt::format("element {}", mix_bits(k) % static_cast<uint64_t>(elems)), got.elements[k],
            want.elements[k], want.largest);
}

std::string dims_text(const std::vector<int>& dims) {
  std::string text;
  for (int d : dims) text += fmt::format("{}{}", text.empty() ? "" : "x", d);
  return text;
}

std::vector<std::string> compare_gradients(const Network& network, const Fixture& f,
                                           const std::vector<real>& gradients) {
  std::vector<std::string> problems;
  if (network.params().size() != f.gradients.size())
    return {fmt::format("{} parameters, PyTorch has {}", network.params().size(), f.gradients.size())};
  for (size_t p = 0; p < f.gradients.size(); ++p) {
    const ParamInfo& info = network.params()[p];
    const Digest& want = f.gradients[p];
    if (info.key != want.key || dims_text(info.spec.dims) != want.dims) {
      problems.push_back(
          fmt::format("{} {}, PyTorch has {} {}", info.key, dims_text(info.spec.dims), want.key, want.dims));
      continue;
    }
    compare_array(want, &gradients[static_cast<size_t>(info.offset)], info.elems, problems);
  }
  return problems;
}

std::vector<std::string> compare(const Network& network, const Fixture& f, const Run& r) {
  std::vector<std::string> problems = compare_gradients(network, f, r.gradients);
  if (!(std::abs(r.result.loss_sum - f.loss_sum) <= kTolerance * f.loss_sum))
    problems.push_back(fmt::format("loss {:.9g}, PyTorch has {:.9g}", r.result.loss_sum, f.loss_sum));
  if (r.result.correct != f.correct)
    problems.push_back(fmt::format("correct {} of {}", r.result.correct, f.correct));
  for (size_t i = 0; i < f.probabilities.size(); ++i)
    if (!(std::abs(static_cast<double>(r.probabilities[i]) - f.probabilities[i]) <= kTolerance))
      problems.push_back(fmt::format("probability {} is {:.9g}, PyTorch has {:.9g}", i, r.probabilities[i],
                                     f.probabilities[i]));
  for (size_t s = 0; s < f.states.size(); ++s) {
    const StateInfo& info = network.states()[s];
    EXPECT(info.key == f.states[s].key);
    compare_array(f.states[s], &r.states[static_cast<size_t>(info.offset)], info.spec.elems, problems);
  }
  return problems;
}

/// The first ten lines, and how many there are.
std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(lines.size(), 10); ++i) text += lines[i] + "\n";
  return text + fmt::format("{} differences", lines.size());
}

/// All samples in chunks of one, through the whole network: what MBS-FS with a small buffer does.
Schedule one_at_a_time(const Network& network, int batch) {
  const NodeId last = network.node_count() - 1;
  return {"mbs-fs", batch, {{Phase::forward, 0, last, 1}, {Phase::backward, 0, last, 1}}};
}

void check_case(const std::string& name) {
  CAPTURE(name);
  const Fixture f = read_fixture(name);
  const Network network = make_network(f.options);
  const std::vector<std::string> whole =
      compare(network, f, run(network, f, 1, layer_by_layer(network, f.samples)));
  EXPECT_MESSAGE(whole.empty(), name, ", 1 core, layer by layer:\n", joined(whole));
  if (f.options.norm == Norm::batch) return;  // its statistics are per core, and it cannot be split
  const std::vector<std::string> split =
      compare(network, f, run(network, f, 2, one_at_a_time(network, (f.samples + 1) / 2)));
  EXPECT_MESSAGE(split.empty(), name, ", 2 cores, one sample at a time:\n", joined(split));
}

TEST_CASE("torch: small_cnn with group norm and label smoothing") { check_case("small_cnn_gn"); }
TEST_CASE("torch: resnet8 with group norm, option A shortcuts") { check_case("resnet8_gn_a"); }
TEST_CASE("torch: resnet20 with group norm, option A shortcuts") { check_case("resnet20_gn_a"); }
TEST_CASE("torch: resnet8 with batch norm and running statistics, option B shortcuts") {
  check_case("resnet8_bn_b");
}
TEST_CASE("torch: resnet50 with group norm, ImageNet stem, bottlenecks") { check_case("resnet50_gn_b"); }

TEST_CASE("torch: resnet8 with group norm and weight standardization, option B shortcuts") {
  check_case("resnet8_gn_ws_b");
}

TEST_CASE("torch: the comparison sees planted faults") {
  const Fixture f = read_fixture("resnet8_gn_a");
  const auto problems = [&](const Fixture& other) {
    const Network network = make_network(other.options);
    return compare(network, f, run(network, other, 1, layer_by_layer(network, other.samples)));
  };
  Fixture other = f;
  SUBCASE("another number of groups") { other.options.gn_channels = 4; }
  SUBCASE("another loss") { other.options.label_smoothing = 0.01; }
  SUBCASE("standardized weights") { other.options.weight_standardization = true; }
  SUBCASE("other shortcuts") { other.options.shortcut = Shortcut::b; }
  SUBCASE("other weights") { other.seed += 1; }
  EXPECT(!problems(other).empty());
}

TEST_CASE("torch: the comparison sees one wrong gradient element") {
  const Fixture f = read_fixture("resnet8_gn_a");
  const Network network = make_network(f.options);
  std::vector<real> gradients = run(network, f, 1, layer_by_layer(network, f.samples)).gradients;
  REQUIRE(compare_gradients(network, f, gradients).empty());
  for (const ParamInfo& info : network.params()) {
    CAPTURE(info.key);
    const Digest d = digest(&gradients[static_cast<size_t>(info.offset)], info.elems, 0);
    real& element = gradients[static_cast<size_t>(info.offset + info.elems / 2)];
    const real right = element;
    element = right + static_cast<real>(0.01 * d.norm);
    EXPECT(!compare_gradients(network, f, gradients).empty());
    element = std::numeric_limits<real>::quiet_NaN();
    EXPECT(!compare_gradients(network, f, gradients).empty());
    element = right;
  }
}

}  // namespace
}  // namespace mbs
