#include "engine/executor.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/check.h"

namespace mbs {
namespace {

// A debug build fills what a step must assign with NaN first, so that what it leaves out shows.
#ifdef MBS_POISON
constexpr bool kPoison = true;
#else
constexpr bool kPoison = false;
#endif

}  // namespace

Executor::Executor(const Network& network, const Schedule& schedule, const Executor* lender)
    : network_(network),
      flow_(network),
      program_(compile(network, flow_, schedule)),
      plan_(plan_memory(network, program_, network.output())),
      arena_(lender != nullptr && lender->arena_->bytes() >= plan_.arena_bytes
                 ? lender->arena_
                 : std::make_shared<Arena>(plan_.arena_bytes)),
      accumulators_(accumulator_arrays(network, program_)),
      params_(network.params().size()),
      states_(network.states().size()),
      gradients_(network.params().size()) {
  for (const auto& pass : program_.passes) {
    bound_.emplace_back();
    for (const Step& step : pass.steps) bound_.back().push_back(bind(step));
  }
}

Executor::Place Executor::place(const Step& step, const BufferName& name) const {
  Place place;
  if (name == BufferName{BufferKind::value, network_.input()}) {
    place.is_input = true;
    place.bytes_per_sample = network_.tensor(name.id).shape.elems() * static_cast<int64_t>(sizeof(real));
    return place;
  }
  if (std::find(step.touches.begin(), step.touches.end(), name) == step.touches.end()) return place;
  const PlannedBuffer& buffer = plan_.find(name);
  place.offset = buffer.offset;
  place.bytes_per_sample = buffer.bytes_per_sample;
  place.whole_batch = buffer.whole_batch;
  return place;
}

Executor::Place Executor::value_place(const Step& step, TensorId t) const {
  const Place again = place(step, {BufferKind::recomputed, t});
  return again.offset >= 0 ? again : place(step, {BufferKind::value, t});
}

Executor::BoundStep Executor::bind(const Step& step) const {
  const Node& node = network_.node(step.node);
  const bool forward = step.phase == Phase::forward || step.recompute;
  BoundStep bound;
  const bool reads_x = forward || node.layer->needs(node.wants_dx).x;
  for (size_t i = 0; i < node.in.size(); ++i) {
    bound.x.push_back(reads_x ? value_place(step, node.in[i]) : Place{});
    const bool wanted = !forward && step.dx_wanted[i] != 0;
    bound.dx.push_back(wanted ? place(step, {BufferKind::gradient, flow_.gradient_root(node.in[i])})
                              : Place{});
  }
  if (forward || node.layer->needs(node.wants_dx).y) bound.y = value_place(step, node.out);
  if (!forward && !node.layer->is_loss())
    bound.dy = place(step, {BufferKind::gradient, flow_.gradient_root(node.out)});
  bound.aux = place(step, {BufferKind::aux, step.node});
  bound.batch_aux = place(step, {BufferKind::batch_aux, step.node});
  bound.scratch = place(step, {step.recompute ? BufferKind::recompute_scratch
                               : forward      ? BufferKind::forward_scratch
                                              : BufferKind::backward_scratch,
                               step.node});
  return bound;
}

// The first byte that a chunk's call sees of a buffer.
std::byte* Executor::at(const Place& place, const Run& run, const Chunk& chunk) const {
  if (place.is_input)
    return const_cast<std::byte*>(reinterpret_cast<const std::byte*>(run.batch.images)) +
           place.bytes_per_sample * chunk.first;
  if (place.offset < 0) return nullptr;
  return arena_->data() + place.offset + (place.whole_batch ? place.bytes_per_sample * chunk.first : 0);
}

void Executor::bind_params(const Parameters& from, std::span<real> gradients) {
  for (size_t i = 0; i < params_.size(); ++i) {
    params_[i] = from.params.data() + network_.params()[i].offset;
    if (!gradients.empty()) gradients_[i] = gradients.data() + network_.params()[i].offset;
  }
  for (size_t i = 0; i < states_.size(); ++i) states_[i] = from.states.data() + network_.states()[i].offset;
}

void Executor::run(const CoreBatch& batch, const StepKey& key, const Parameters& params,
                   std::span<real> gradients, Recorder* recorder) {
  CHECK(batch.samples >= 1 && batch.samples <= program_.batch, "{} samples in a batch of {}", batch.samples,
        program_.batch);
  bind_params(params, gradients);
  EventSource events(network_, recorder);
  if (recorder != nullptr) recorder->on_stage(Stage::clear);
  walk({batch, key, program_.training, params.prepared}, events);
}

void Executor::walk(const Run& run, EventSource& events) {
  const int samples = run.batch.samples;
  for (size_t p = 0; p < program_.passes.size(); ++p) {
    const auto& [pass, steps] = program_.passes[p];
    for (int c = 0; c < pass.chunks(samples); ++c) {
      const int first = c * pass.sub_batch;
      const Chunk chunk{first, std::min(pass.sub_batch, samples - first)};
      for (size_t s = 0; s < steps.size(); ++s) {
        if (kPoison) poison(steps[s], bound_[p][s], run, chunk);
        if (pass.phase == Phase::forward || steps[s].recompute)
          forward(steps[s], bound_[p][s], run, chunk);
        else
          backward(steps[s], bound_[p][s], run, chunk);
        events.emit(steps[s], pass, static_cast<int>(p), c, chunk.first, chunk.samples);
      }
    }
  }
}

std::span<real* const> Executor::gradients_of(const Node& node) const {
  return std::span(gradients_)
      .subspan(static_cast<size_t>(node.first_param), static_cast<size_t>(node.params));
}

// What forward and backward calls have in common.
template <class Call>
Call Executor::prepare(const Step& step, const BoundStep& bound, const Run& run, const Chunk& chunk) {
  const Node& node = network_.node(step.node);
  x_.clear();
  for (const Place& place : bound.x) x_.push_back(reinterpret_cast<const real*>(at(place, run, chunk)));
  Call call;
  call.samples = chunk.samples;
  call.first_sample = run.batch.first_sample + chunk.first;
  call.node = node.random_key;
  call.key = run.key;
  call.x = x_;
  call.y = reinterpret_cast<real*>(at(bound.y, run, chunk));
  call.params =
      std::span(params_).subspan(static_cast<size_t>(node.first_param), static_cast<size_t>(node.params));
  call.prepared = run.prepared.of(step.node);
  call.aux = at(bound.aux, run, chunk);
  call.batch_aux = at(bound.batch_aux, run, chunk);
  call.scratch = reinterpret_cast<real*>(at(bound.scratch, run, chunk));
  call.labels = run.batch.labels + chunk.first;
  return call;
}

void Executor::forward(const Step& step, const BoundStep& bound, const Run& run, const Chunk& chunk) {
  const Node& node = network_.node(step.node);
  Forward call = prepare<Forward>(step, bound, run, chunk);
  call.training = run.training;
  call.state =
      std::span(states_).subspan(static_cast<size_t>(node.first_state), static_cast<size_t>(node.states));
  node.layer->forward(call);
}

void Executor::backward(const Step& step, const BoundStep& bound, const Run& run, const Chunk& chunk) {
  const Node& node = network_.node(step.node);
  Backward call = prepare<Backward>(step, bound, run, chunk);
  dx_.clear();
  for (const Place& place : bound.dx) dx_.push_back(reinterpret_cast<real*>(at(place, run, chunk)));
  call.dy = reinterpret_cast<const real*>(at(bound.dy, run, chunk));
  call.dx = dx_;
  call.add_to_dx = step.dx_added;
  call.dparams = gradients_of(node);
  call.accumulator = accumulators_.of(step.node);
  call.batch = run.batch.batch;
  node.layer->backward(call);
  const bool last_chunk = chunk.first + chunk.samples == run.batch.samples;
  if (last_chunk && call.accumulator != nullptr) node.layer->finish_gradients(call.accumulator, call.dparams);
}

void Executor::poison(const Step& step, const BoundStep& bound, const Run& run, const Chunk& chunk) {
  const auto fill = [&](const Place& place) {
    auto* first = reinterpret_cast<real*>(at(place, run, chunk));
    const int64_t elems = place.bytes_per_sample * chunk.samples / static_cast<int64_t>(sizeof(real));
    std::fill(first, first + elems, std::numeric_limits<real>::quiet_NaN());
  };
  if (step.phase == Phase::forward || step.recompute) fill(bound.y);
  for (size_t i = 0; i < step.dx_wanted.size(); ++i) {
    if (step.dx_wanted[i] && !step.dx_added[i]) fill(bound.dx[i]);
  }
}

const real* Executor::output() const {
  const PlannedBuffer& buffer = plan_.find({BufferKind::value, network_.output()});
  return reinterpret_cast<const real*>(arena_->data() + buffer.offset);
}

const std::byte* Executor::batch_aux(NodeId n) const {
  return arena_->data() + plan_.find({BufferKind::batch_aux, n}).offset;
}

NodeId Executor::first_nonfinite(const CoreBatch& batch, const StepKey& key, const Parameters& params) {
  bind_params(params, {});
  const Run run{batch, key, program_.training, params.prepared};
  NodeId found = -1;
  for (size_t p = 0; p < program_.passes.size() && program_.passes[p].pass.phase == Phase::forward; ++p) {
    const auto& [pass, steps] = program_.passes[p];
    for (int first = 0; first < batch.samples; first += pass.sub_batch) {
      const Chunk chunk{first, std::min(pass.sub_batch, batch.samples - first)};
      for (size_t s = 0; s < steps.size(); ++s) {
        forward(steps[s], bound_[p][s], run, chunk);
        const auto* y = reinterpret_cast<const real*>(at(bound_[p][s].y, run, chunk));
        const int64_t elems = network_.tensor(network_.node(steps[s].node).out).shape.elems() * chunk.samples;
        const bool finite = std::all_of(y, y + elems, [](real v) { return std::isfinite(v); });
        if (!finite && (found < 0 || steps[s].node < found)) found = steps[s].node;
      }
    }
    if (found >= 0) break;
  }
  return found;
}

}  // namespace mbs
