#include "tests/layer_harness.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "engine/check.h"
#include "engine/network.h"
#include "engine/random.h"
#include "layers/registry.h"

namespace mbs::testing {
namespace {

constexpr real kNan = std::numeric_limits<real>::quiet_NaN();

// `count` elements between two guards; the first is aligned to 64 bytes, as the arena's buffers are.
template <class T>
class Guarded {
 public:
  Guarded(std::string name, int64_t count, T fill)
      : name_(std::move(name)),
        count_(static_cast<size_t>(count)),
        memory_(bytes() + 2 * kGuard + 64, kPattern) {
    const auto start = reinterpret_cast<uintptr_t>(memory_.data());
    begin_ = kGuard + (64 - (start + kGuard) % 64) % 64;
    std::fill_n(data(), count_, fill);
  }
  Guarded(std::string name, const std::vector<T>& values)
      : Guarded(std::move(name), std::ssize(values), T{}) {
    std::copy(values.begin(), values.end(), data());
  }

  T* data() { return reinterpret_cast<T*>(memory_.data() + begin_); }
  std::vector<T> values() { return {data(), data() + count_}; }
  void fill(T value) { std::fill_n(data(), count_, value); }

  // Adds its name to `names` if a guard was written to.
  void check(std::string& names) const {
    const auto is_pattern = [](std::byte b) { return b == kPattern; };
    const auto end = static_cast<std::ptrdiff_t>(begin_ + bytes());
    if (!std::all_of(memory_.begin(), memory_.begin() + static_cast<std::ptrdiff_t>(begin_), is_pattern) ||
        !std::all_of(memory_.begin() + end, memory_.end(), is_pattern))
      names += (names.empty() ? "" : ", ") + name_;
  }

 private:
  static constexpr size_t kGuard = 256;
  static constexpr std::byte kPattern{0xa5};
  size_t bytes() const { return count_ * sizeof(T); }

  std::string name_;
  size_t count_;
  std::vector<std::byte> memory_;
  size_t begin_ = 0;
};

std::vector<real> shuffled_grid(int64_t n, const Random& random) {
  std::vector<real> values(static_cast<size_t>(n));
  for (int64_t k = 0; k < n; ++k)
    values[static_cast<size_t>(k)] = static_cast<real>(
        (static_cast<double>(k) + 0.75 - static_cast<double>(n) / 2) * 4 / static_cast<double>(n));
  for (uint64_t k = values.size(); k > 1; --k) std::swap(values[k - 1], values[random.below(k, k)]);
  return values;
}

std::vector<real> normal_values(int64_t n, const Random& random) {
  std::vector<real> values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<real>(random.normal(i));
  return values;
}

int64_t elems_of(const ParamSpec& p) {
  return std::accumulate(p.dims.begin(), p.dims.end(), int64_t{1}, std::multiplies<>());
}

template <class T>
std::vector<const T*> pointers(const std::vector<std::vector<T>>& arrays) {
  std::vector<const T*> result;
  for (const auto& array : arrays) result.push_back(array.data());
  return result;
}

// The buffers of one run and the calls on them.
class Runner {
 public:
  Runner(const Layer& layer, const Inputs& in, const RunOptions& options)
      : layer_(layer),
        in_(in),
        options_(options),
        needs_(layer.needs(options.wants_dx)),
        params_(pointers(in.params)),
        states_(pointers(in.states)),
        y_("y", in.samples * layer.out_shape().elems(), kNan),
        aux_("aux", in.samples * needs_.aux_bytes_per_sample, kPoison),
        batch_aux_("batch_aux", needs_.aux_bytes_per_batch, kPoison),
        forward_scratch_("forward scratch", needs_.forward_scratch_elems, kNan),
        backward_scratch_("backward scratch", needs_.backward_scratch_elems, kNan),
        prepared_("prepared", needs_.prepared_elems, kNan),
        accumulator_("accumulator", needs_.accumulator_elems, real{0}) {
    layer.prepare(params_, options.backward && options.wants_dx, prepared_.data());
    if (!options.backward) return;
    const Random noise(17, Stream::test, 5);
    for (size_t i = 0; i < in.x.size(); ++i) {
      run_.dx_before.push_back(normal_values(std::ssize(in.x[i]), Random(noise.bits(i), Stream::test)));
      dx_.emplace_back(fmt::format("dx[{}]", i), run_.dx_before[i]);
      if (!options.add_to_dx) dx_[i].fill(kNan);
    }
    for (size_t i = 0; i < in.params.size(); ++i) {
      run_.dparams_before.push_back(
          normal_values(std::ssize(in.params[i]), Random(noise.bits(99 + i), Stream::test)));
      dparams_.emplace_back(fmt::format("dparams[{}]", i), run_.dparams_before[i]);
    }
  }

  void forward(int first, int samples) {
    std::vector<const real*> x;
    for (size_t i = 0; i < in_.x.size(); ++i)
      x.push_back(in_.x[i].data() + first * layer_.in_shapes()[i].elems());
    forward_scratch_.fill(kNan);
    Forward f;
    f.samples = samples;
    f.first_sample = in_.first_sample + first;
    f.node = kNode;
    f.training = options_.training;
    f.key = kKey;
    f.x = x;
    f.y = y_.data() + first * layer_.out_shape().elems();
    f.params = params_;
    f.prepared = prepared_.data();
    f.state = states_;
    if (options_.training) {
      f.aux = aux_.data() + first * needs_.aux_bytes_per_sample;
      f.batch_aux = batch_aux_.data();
    }
    f.scratch = forward_scratch_.data();
    f.labels = in_.labels.empty() ? nullptr : in_.labels.data() + first;
    layer_.forward(f);
  }

  void backward(int first, int samples) {
    std::vector<const real*> x;
    std::vector<real*> dx, dparams;
    for (size_t i = 0; i < in_.x.size(); ++i) {
      const int64_t offset = first * layer_.in_shapes()[i].elems();
      const bool wanted = options_.wants_dx && !(options_.every_second_dx && i % 2 == 0);
      x.push_back(needs_.x ? in_.x[i].data() + offset : nullptr);
      dx.push_back(wanted ? dx_[i].data() + offset : nullptr);
    }
    dparams = dparam_pointers();
    const std::vector<uint8_t> add(dx.size(), options_.add_to_dx);
    backward_scratch_.fill(kNan);
    const int64_t out = first * layer_.out_shape().elems();
    Backward b;
    b.samples = samples;
    b.first_sample = in_.first_sample + first;
    b.node = kNode;
    b.key = kKey;
    b.x = x;
    b.y = needs_.y ? y_.data() + out : nullptr;
    b.dy = layer_.is_loss() ? nullptr : in_.dy.data() + out;
    b.dx = dx;
    b.add_to_dx = add;
    b.params = params_;
    b.prepared = prepared_.data();
    b.dparams = dparams;
    b.accumulator = accumulator_.data();
    b.aux = aux_.data() + first * needs_.aux_bytes_per_sample;
    b.batch_aux = batch_aux_.data();
    b.scratch = backward_scratch_.data();
    b.labels = in_.labels.empty() ? nullptr : in_.labels.data() + first;
    b.batch = in_.samples;
    layer_.backward(b);
  }

  void finish() {
    if (needs_.accumulator_elems > 0) layer_.finish_gradients(accumulator_.data(), dparam_pointers());
  }

  Run take() {
    run_.y = y_.values();
    run_.aux = aux_.values();
    run_.batch_aux = batch_aux_.values();
    for (auto& d : dx_) run_.dx.push_back(d.values()), d.check(run_.overrun);
    for (auto& d : dparams_) run_.dparams.push_back(d.values()), d.check(run_.overrun);
    y_.check(run_.overrun);
    aux_.check(run_.overrun);
    batch_aux_.check(run_.overrun);
    forward_scratch_.check(run_.overrun);
    backward_scratch_.check(run_.overrun);
    prepared_.check(run_.overrun);
    accumulator_.check(run_.overrun);
    return std::move(run_);
  }

 private:
  std::vector<real*> dparam_pointers() {
    std::vector<real*> pointers;
    for (auto& d : dparams_) pointers.push_back(d.data());
    return pointers;
  }

  static constexpr std::byte kPoison{0xcd};
  static constexpr StepKey kKey{7, 11};
  static constexpr int kNode = 3;

  const Layer& layer_;
  const Inputs& in_;
  const RunOptions& options_;
  Needs needs_;
  std::vector<const real*> params_, states_;
  Guarded<real> y_;
  Guarded<std::byte> aux_, batch_aux_;
  Guarded<real> forward_scratch_, backward_scratch_, prepared_, accumulator_;
  std::vector<Guarded<real>> dx_, dparams_;
  Run run_;
};

}  // namespace

std::vector<Subject> all_subjects() {
  std::vector<Subject> subjects;
  for (const LayerEntry* entry : layer_registry())
    for (const std::string& example : entry->examples)
      subjects.push_back(make_subject(entry->name + " " + example));
  return subjects;
}

Subject make_subject(const std::string& text) {
  const size_t blank = text.find(' ');
  const LayerExample example = parse_example({text.substr(0, blank), nullptr, {}}, text.substr(blank + 1));
  return {text, make_layer(example.spec, example.shapes)};
}

Inputs make_inputs(const Layer& layer, int samples, uint64_t seed) {
  Inputs in;
  in.samples = samples;
  uint64_t array = 0;
  const auto random = [&] { return Random(seed, Stream::test, 1, array++); };
  for (const Shape& shape : layer.in_shapes())
    in.x.push_back(shuffled_grid(samples * shape.elems(), random()));
  for (const ParamSpec& p : layer.params()) in.params.push_back(normal_values(elems_of(p), random()));
  for (const StateSpec& s : layer.states()) {
    in.states.push_back(normal_values(s.elems, random()));
    for (real& v : in.states.back()) v = std::abs(v) + real(0.5);
  }
  in.dy = normal_values(samples * layer.out_shape().elems(), random());
  if (layer.is_loss()) {
    const Random labels = random();
    const auto classes = static_cast<uint64_t>(layer.out_shape().c - 1);
    for (int s = 0; s < samples; ++s)
      in.labels.push_back(static_cast<int>(labels.below(static_cast<uint64_t>(s), classes)));
  }
  return in;
}

Run run_layer(const Layer& layer, const Inputs& in, const RunOptions& options) {
  Runner runner(layer, in, options);
  const std::vector<int> chunks = options.chunks.empty() ? std::vector<int>{in.samples} : options.chunks;
  CHECK(std::accumulate(chunks.begin(), chunks.end(), 0) == in.samples, "chunks do not cover the samples");
  int first = 0;
  for (int n : chunks) runner.forward(std::exchange(first, first + n), n);
  first = 0;
  if (options.backward) {
    for (int n : chunks) runner.backward(std::exchange(first, first + n), n);
    runner.finish();
  }
  return runner.take();
}

std::vector<int> random_chunks(int samples, uint64_t seed) {
  const Random random(seed, Stream::test, 2);
  std::vector<int> chunks;
  for (int left = samples; left > 0; left -= chunks.back())
    chunks.push_back(
        1 + static_cast<int>(random.below(static_cast<uint64_t>(left), static_cast<uint64_t>(left))));
  return chunks;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}
template bool same_bits(const std::vector<real>&, const std::vector<real>&);
template bool same_bits(const std::vector<std::byte>&, const std::vector<std::byte>&);

bool all_finite(const std::vector<real>& values) {
  return std::all_of(values.begin(), values.end(), [](real v) { return std::isfinite(v); });
}

Wrapper::Wrapper(std::shared_ptr<const Layer> inner) : Layer(inner->in_shapes()), inner_(std::move(inner)) {
  out_ = inner_->out_shape();
}
Wrapper::Wrapper(const std::string& text) : Wrapper(make_subject(text).layer) {}

}  // namespace mbs::testing
