#include "apps/measure/layer_run.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "engine/random.h"

namespace mbs {
namespace {

/// Cuts one block of memory into buffers: called twice with the same sizes, first to add them up.
class Cutter {
 public:
  explicit Cutter(std::byte* memory = nullptr) : memory_(memory) {}

  std::byte* bytes(int64_t count) {
    // A little more than a whole page apart, so that no two buffers meet in the same lines of a cache.
    constexpr int64_t kLine = 64, kSkew = 5 * kLine;
    std::byte* begin = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += (count + kLine - 1) / kLine * kLine + kSkew;
    return begin;
  }
  std::span<real> reals(int64_t count) {
    auto* begin = reinterpret_cast<real*>(bytes(count * static_cast<int64_t>(sizeof(real))));
    return {begin, begin == nullptr ? 0 : static_cast<size_t>(count)};
  }
  int64_t used() const { return used_; }

 private:
  std::byte* memory_;
  int64_t used_ = 0;
};

/// Uniform in [-scale, scale).
void fill_random(std::span<real> values, uint64_t key, double scale) {
  const Random random(key, Stream::synthetic, 4711);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<real>((2 * random.uniform(i) - 1) * scale);
}

int64_t elems_of(const ParamSpec& p) {
  return std::accumulate(p.dims.begin(), p.dims.end(), int64_t{1}, std::multiplies<>());
}

}  // namespace

LayerRun::LayerRun(std::shared_ptr<const Layer> layer, int samples, bool wants_dx)
    : layer_(std::move(layer)), samples_(samples), wants_dx_(wants_dx), needs_(layer_->needs(wants_dx)) {
  const std::vector<ParamSpec> params = layer_->params();
  const auto cut = [&](Cutter cutter) {
    x_.clear(), dx_.clear(), params_.clear(), dparams_.clear(), states_.clear();
    for (const Shape& shape : layer_->in_shapes()) {
      x_.push_back(cutter.reals(samples * shape.elems()));
      dx_.push_back(cutter.reals(samples * shape.elems()));
    }
    for (const ParamSpec& p : params) {
      params_.push_back(cutter.reals(elems_of(p)));
      dparams_.push_back(cutter.reals(elems_of(p)));
    }
    for (const StateSpec& s : layer_->states()) states_.push_back(cutter.reals(s.elems));
    y_ = cutter.reals(samples * layer_->out_shape().elems());
    dy_ = cutter.reals(samples * layer_->out_shape().elems());
    forward_scratch_ = cutter.reals(needs_.forward_scratch_elems);
    backward_scratch_ = cutter.reals(needs_.backward_scratch_elems);
    prepared_ = cutter.reals(needs_.prepared_elems);
    accumulator_ = cutter.reals(needs_.accumulator_elems);
    aux_ = cutter.bytes(samples * needs_.aux_bytes_per_sample);
    batch_aux_ = cutter.bytes(needs_.aux_bytes_per_batch);
    return cutter.used();
  };
  memory_ = std::make_unique<Arena>(cut(Cutter()));
  cut(Cutter(memory_->data()));
  bind();

  for (size_t i = 0; i < x_.size(); ++i) fill_random(x_[i], i, 1);
  for (size_t i = 0; i < params_.size(); ++i)
    fill_random(params_[i], 100 + i, std::sqrt(3. / static_cast<double>(params[i].fan)));
  for (std::span<real> state : states_) std::fill(state.begin(), state.end(), real(1));
  const int classes = layer_->is_loss() ? layer_->out_shape().c - 1 : 1;
  for (int s = 0; s < samples; ++s) labels_.push_back(s % classes);
  std::vector<int> all(static_cast<size_t>(samples));
  std::iota(all.begin(), all.end(), 0);
  set_dy(all);
  clear_dparams();
  prepare();
}

void LayerRun::set_dy(std::span<const int> samples) {
  const auto n = static_cast<size_t>(layer_->out_shape().elems());
  std::fill(dy_.begin(), dy_.end(), real(0));
  for (const int s : samples)
    fill_random(dy_.subspan(static_cast<size_t>(s) * n, n), 200 + static_cast<uint64_t>(s), 1);
}

void LayerRun::clear_dparams() {
  for (std::span<real> d : dparams_) std::fill(d.begin(), d.end(), real(0));
  std::fill(accumulator_.begin(), accumulator_.end(), real(0));
}

void LayerRun::bind() {
  const auto pointers = [](const std::vector<std::span<real>>& arrays, auto& to) {
    for (const auto& array : arrays) to.push_back(array.data());
  };
  pointers(x_, x_in_);
  pointers(params_, params_in_);
  pointers(states_, states_in_);
  pointers(dx_, dx_out_);
  pointers(dparams_, dparams_out_);
  add_.assign(dx_.size(), 0);
  nothing_.assign(std::max(dx_.size(), dparams_.size()), nullptr);
}

void LayerRun::prepare() {
  if (prepares()) layer_->prepare(params_in_, wants_dx_, prepared_.data());
}

void LayerRun::finish_gradients() {
  if (accumulates()) layer_->finish_gradients(accumulator_.data(), dparams_out_);
}

void LayerRun::forward() {
  Forward f;
  f.samples = samples_;
  f.x = x_in_;
  f.y = y_.data();
  f.params = params_in_;
  f.prepared = prepared_.data();
  f.state = states_in_;
  f.aux = aux_;
  f.batch_aux = batch_aux_;
  f.scratch = forward_scratch_.data();
  f.labels = labels_.data();
  layer_->forward(f);
}

void LayerRun::backward(Gradients wanted) {
  Backward b;
  b.samples = samples_;
  b.x = x_in_;
  b.y = y_.data();
  b.dy = layer_->is_loss() ? nullptr : dy_.data();
  const std::span<real* const> nothing(nothing_);
  b.dx = wants_dx_ && wanted != Gradients::weights ? dx_out_ : nothing.first(dx_out_.size());
  b.add_to_dx = add_;
  b.params = params_in_;
  b.prepared = prepared_.data();
  b.accumulator = accumulator_.data();
  b.dparams = wanted != Gradients::data ? dparams_out_ : nothing.first(dparams_out_.size());
  b.aux = aux_;
  b.batch_aux = batch_aux_;
  b.scratch = backward_scratch_.data();
  b.labels = labels_.data();
  b.batch = samples_;
  layer_->backward(b);
}

int64_t LayerRun::forward_bytes() const {
  size_t elems = y_.size();
  for (const auto& v : x_) elems += v.size();
  for (const auto& v : params_) elems += v.size();
  return static_cast<int64_t>(elems * sizeof(real)) + samples_ * needs_.aux_bytes_per_sample;
}

int64_t LayerRun::backward_bytes() const {
  size_t elems = layer_->is_loss() ? 0 : dy_.size();
  if (needs_.y) elems += y_.size();
  for (const auto& v : x_) elems += (needs_.x ? v.size() : 0) + (wants_dx_ ? v.size() : 0);
  for (const auto& v : params_) elems += 3 * v.size();  // read; the gradient is read and written
  return static_cast<int64_t>(elems * sizeof(real)) + samples_ * needs_.aux_bytes_per_sample;
}

int64_t LayerRun::prepare_bytes() const {
  size_t elems = prepared_.size();
  for (const auto& v : params_) elems += v.size();
  return static_cast<int64_t>(elems * sizeof(real));
}

int64_t LayerRun::finish_bytes() const {
  size_t elems = accumulator_.size();
  for (const auto& v : dparams_) elems += 2 * v.size();
  return static_cast<int64_t>(elems * sizeof(real));
}

}  // namespace mbs
