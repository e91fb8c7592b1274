#include "engine/schedule.h"

#include <algorithm>

#include "engine/check.h"

namespace mbs {
namespace {

const char* name(Phase phase) { return phase == Phase::forward ? "forward" : "backward"; }

std::string describe(const Network& network, const Pass& pass, size_t index) {
  const auto node = [&](NodeId n) {
    return n >= 0 && n < network.node_count() ? network.node(n).name : fmt::format("node {}", n);
  };
  return fmt::format("pass {} ({} {} .. {}, sub-batch {})", index, name(pass.phase), node(pass.first),
                     node(pass.last), pass.sub_batch);
}

void validate_pass(const Network& network, const Schedule& schedule, size_t index) {
  const Pass& pass = schedule.passes[index];
  const std::string where = describe(network, pass, index);
  if (pass.first < 0 || pass.last >= network.node_count() || pass.first > pass.last)
    fail("schedule: {}: its nodes are not a span of the network's {}", where, network.node_count());
  if (pass.sub_batch < 1 || pass.sub_batch > schedule.batch)
    fail("schedule: {}: the sub-batch must be between 1 and the batch of {}", where, schedule.batch);
  if (pass.phase == Phase::forward && pass.recompute != Recompute::nothing)
    fail("schedule: {}: only a backward pass can compute outputs again", where);
  const bool inference = schedule.passes.back().phase == Phase::forward;
  if (pass.sub_batch == schedule.batch || inference) return;
  for (NodeId n = pass.first; n <= pass.last; ++n) {
    if (network.node(n).layer->couples_samples())
      fail(
          "schedule: {}: layer '{}' ({}) couples the samples of its batch, so its {} samples cannot be split "
          "into "
          "sub-batches of {}; use group norm (--norm gn), or --order baseline",
          where, network.node(n).name, network.node(n).spec, schedule.batch, pass.sub_batch);
  }
}

}  // namespace

Schedule layer_by_layer(const Network& network, int batch) {
  Schedule s{"baseline", batch, {}};
  for (NodeId n = 0; n < network.node_count(); ++n) s.passes.push_back({Phase::forward, n, n, batch});
  for (NodeId n = network.node_count() - 1; n >= 0; --n) s.passes.push_back({Phase::backward, n, n, batch});
  return s;
}

Schedule forward_only(const Network& network, int batch, int sub_batch) {
  return {"forward", batch, {{Phase::forward, 0, network.node_count() - 1, sub_batch, Reuse::group}}};
}

void validate(const Network& network, const Schedule& schedule) {
  if (schedule.batch < 1) fail("schedule: the batch is {}; it must be at least 1", schedule.batch);
  for (const TensorId t : schedule.kept)
    if (t < 0 || t >= static_cast<int>(network.tensors().size()))
      fail("schedule: it keeps tensor {} of {}", t, network.tensors().size());
  NodeId next =
      0;  // what the next forward pass must start with; going down, what the next backward pass ends with
  bool backward = false;
  for (size_t i = 0; i < schedule.passes.size(); ++i) {
    const Pass& pass = schedule.passes[i];
    validate_pass(network, schedule, i);
    if (pass.phase == Phase::backward && !backward) {
      if (next != network.node_count())
        fail("schedule: {}: starts before the forward passes have covered every node",
             describe(network, pass, i));
      backward = true;
      next = network.node_count() - 1;
    }
    const bool in_order = pass.phase == Phase::forward ? !backward && pass.first == next : pass.last == next;
    if (!in_order)
      fail(
          "schedule: {}: passes must cover every node once, forward first to last, then backward last to "
          "first",
          describe(network, pass, i));
    next = pass.phase == Phase::forward ? pass.last + 1 : pass.first - 1;
  }
  if (next != (backward ? -1 : network.node_count())) fail("schedule: the passes do not cover every node");
}

std::string to_text(const Network& network, const Schedule& schedule) {
  std::string text;
  for (const Pass& pass : schedule.passes) {
    const bool forward = pass.phase == Phase::forward;
    text += fmt::format("{:<8}  {} .. {}  {} samples x {} chunks\n", name(pass.phase),
                        network.node(forward ? pass.first : pass.last).name,
                        network.node(forward ? pass.last : pass.first).name, pass.sub_batch,
                        pass.chunks(schedule.batch));
  }
  return text;
}

}  // namespace mbs
