#include "engine/memory_plan.h"

#include <algorithm>
#include <map>

#include "engine/check.h"

namespace mbs {
namespace {

constexpr int64_t kAlignBytes = 64;  // a cache line, and the widest vector

int64_t aligned(int64_t bytes) { return (bytes + kAlignBytes - 1) / kAlignBytes * kAlignBytes; }

const char* kind_name(BufferKind kind) {
  constexpr const char* kNames[] = {"value",     "recomputed",      "gradient",         "aux",
                                    "batch_aux", "forward_scratch", "backward_scratch", "recompute_scratch"};
  return kNames[static_cast<size_t>(kind)];
}

constexpr int64_t kRealBytes = static_cast<int64_t>(sizeof(real));

int64_t bytes_per_sample(const Network& network, const BufferName& name) {
  switch (name.kind) {
    case BufferKind::value:
    case BufferKind::recomputed:
    case BufferKind::gradient:
      return network.tensor(name.id).shape.elems() * kRealBytes;
    case BufferKind::aux: {
      const Node& node = network.node(name.id);
      return node.layer->needs(node.wants_dx).aux_bytes_per_sample;
    }
    default:
      return 0;
  }
}

int64_t fixed_bytes(const Network& network, const BufferName& name) {
  if (bytes_per_sample(network, name) > 0) return 0;
  const Node& node = network.node(name.id);
  const Needs needs = node.layer->needs(node.wants_dx);
  switch (name.kind) {
    case BufferKind::batch_aux:
      return needs.aux_bytes_per_batch;
    case BufferKind::forward_scratch:
    case BufferKind::recompute_scratch:
      return needs.forward_scratch_elems * kRealBytes;
    default:
      return needs.backward_scratch_elems * kRealBytes;
  }
}

// Where a buffer is touched while the lifetimes are collected.
struct Span {
  int first, last, pass, sub_batch;
  bool many_passes = false;
};

// Gives offsets, largest buffer first, each at the lowest place that no living neighbour holds.
void assign_offsets(MemoryPlan& plan) {
  std::vector<PlannedBuffer*> order;
  for (PlannedBuffer& b : plan.buffers) order.push_back(&b);
  std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->bytes > b->bytes; });
  std::vector<PlannedBuffer*> placed;  // by offset
  for (PlannedBuffer* buffer : order) {
    int64_t offset = 0;
    for (const PlannedBuffer* other : placed) {
      const bool together = other->first <= buffer->last && buffer->first <= other->last;
      if (!together) continue;
      if (offset + buffer->bytes <= other->offset) break;
      offset = std::max(offset, aligned(other->offset + other->bytes));
    }
    buffer->offset = offset;
    plan.arena_bytes = std::max(plan.arena_bytes, aligned(offset + buffer->bytes));
    const auto at = std::upper_bound(placed.begin(), placed.end(), buffer,
                                     [](auto* a, auto* b) { return a->offset < b->offset; });
    placed.insert(at, buffer);
  }
}

}  // namespace

const PlannedBuffer& MemoryPlan::find(const BufferName& name) const {
  const auto it = std::find_if(buffers.begin(), buffers.end(), [&](const auto& b) { return b.name == name; });
  CHECK(it != buffers.end(), "no {} buffer {} is planned", kind_name(name.kind), name.id);
  return *it;
}

MemoryPlan plan_memory(const Network& network, const Program& program, TensorId keep) {
  std::map<BufferName, Span> spans;
  std::vector<std::pair<int, int>> pass_steps;  // first and last step of each pass
  int time = 0;
  for (size_t p = 0; p < program.passes.size(); ++p) {
    const auto& [pass, steps] = program.passes[p];
    pass_steps.emplace_back(time, time + static_cast<int>(steps.size()) - 1);
    for (const Step& step : steps) {
      for (const BufferName& name : step.touches) {
        const auto [it, fresh] =
            spans.try_emplace(name, Span{time, time, static_cast<int>(p), pass.sub_batch, false});
        it->second.last = time;
        it->second.many_passes = it->second.many_passes || it->second.pass != static_cast<int>(p);
      }
      ++time;
    }
  }
  Span& kept = spans.at({BufferKind::value, keep});
  kept.many_passes = true;
  kept.last = time;
  // What a layer leaves for its running statistics is read after the last step.
  for (auto& [name, span] : spans) {
    if (name.kind == BufferKind::batch_aux) span.last = time;
  }

  MemoryPlan plan;
  for (const auto& [name, span] : spans) {
    PlannedBuffer b;
    b.name = name;
    b.whole_batch = span.many_passes;
    b.bytes_per_sample = bytes_per_sample(network, name);
    b.bytes =
        fixed_bytes(network, name) + b.bytes_per_sample * (b.whole_batch ? program.batch : span.sub_batch);
    b.first = span.first;
    b.last = span.last;
    // A pass of several chunks comes back to its first step: what crosses its border lives throughout it.
    for (size_t p = 0; b.whole_batch && p < program.passes.size(); ++p) {
      const auto [begin, end] = pass_steps[p];
      if (program.passes[p].pass.chunks(program.batch) == 1) continue;
      if (b.first >= begin && b.first <= end) b.first = begin;
      if (b.last >= begin && b.last <= end) b.last = end;
    }
    plan.buffers.push_back(b);
  }
  assign_offsets(plan);
  return plan;
}

std::string find_overlap(const MemoryPlan& plan) {
  for (size_t i = 0; i < plan.buffers.size(); ++i) {
    for (size_t j = i + 1; j < plan.buffers.size(); ++j) {
      const PlannedBuffer &a = plan.buffers[i], &b = plan.buffers[j];
      const bool both_live = a.first <= b.last && b.first <= a.last;
      const bool share = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
      if (both_live && share)
        return fmt::format("{} {} and {} {}", kind_name(a.name.kind), a.name.id, kind_name(b.name.kind),
                           b.name.id);
    }
  }
  return {};
}

}  // namespace mbs
