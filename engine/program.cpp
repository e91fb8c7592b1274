#include "engine/program.h"

#include <algorithm>

#include "engine/check.h"
#include "engine/recompute.h"

namespace mbs {
namespace {

// Builds the steps of one program; knows in which pass each node runs.
class Compiler {
 public:
  Compiler(const Network& network, const Dataflow& flow, const Schedule& schedule)
      : network_(network), flow_(flow), schedule_(schedule) {
    pass_of_[0].assign(static_cast<size_t>(network.node_count()), -1);
    pass_of_[1] = pass_of_[0];
    made_.assign(static_cast<size_t>(network.node_count()), 0);
    for (size_t p = 0; p < schedule.passes.size(); ++p) {
      const Pass& pass = schedule.passes[p];
      for (NodeId n = pass.first; n <= pass.last; ++n) pass_of(pass.phase, n) = static_cast<int>(p);
      if (pass.recompute == Recompute::nothing) continue;
      const std::vector<uint8_t> made =
          Recomputation(network, flow, pass.recompute, schedule.kept).in_pass(pass.first, pass.last);
      for (NodeId n = pass.first; n <= pass.last; ++n)
        made_[static_cast<size_t>(n)] = made[static_cast<size_t>(n)];
    }
  }

  Program compile() {
    Program program;
    program.batch = schedule_.batch;
    program.training = schedule_.passes.back().phase == Phase::backward;
    training_ = program.training;
    for (const Pass& pass : schedule_.passes) {
      Program::PassSteps steps{pass, {}};
      if (pass.phase == Phase::forward) {
        for (NodeId n = pass.first; n <= pass.last; ++n) steps.steps.push_back(forward_step(n));
      } else {
        for (NodeId n = pass.last; n >= pass.first; --n) {
          if (!flow_.has_backward(n)) continue;
          const Needs needs = network_.node(n).layer->needs(network_.node(n).wants_dx);
          if (needs.x) {
            for (TensorId t : network_.node(n).in) make_again(t, n, steps.steps);
          }
          if (needs.y) make_again(network_.node(n).out, n, steps.steps);
          steps.steps.push_back(backward_step(n));
        }
      }
      program.passes.push_back(std::move(steps));
    }
    return program;
  }

 private:
  int& pass_of(Phase phase, NodeId n) { return pass_of_[static_cast<size_t>(phase)][static_cast<size_t>(n)]; }

  int64_t elems(TensorId t) const { return network_.tensor(t).shape.elems(); }

  Operand operand(int tensor, Role role, Access access, int64_t count) const {
    Operand o;
    o.tensor = tensor;
    o.role = role;
    o.access = access;
    o.elems = count;
    return o;
  }

  bool all_in_pass(Phase phase, std::span<const NodeId> nodes, int pass) {
    return !nodes.empty() &&
           std::all_of(nodes.begin(), nodes.end(), [&](NodeId n) { return pass_of(phase, n) == pass; });
  }

  // Fills in whether all later readers are in this pass, and next in the branch.
  void hand_over(Operand& write, Phase phase, std::span<const Reader> readers, int pass) {
    write.local = !readers.empty();
    write.chained = !readers.empty();
    for (const Reader& reader : readers) {
      // A concatenation of which a part was made elsewhere is read from DRAM as a whole.
      const bool whole = reader.whole < 0 || all_in_pass(phase, flow_.writers(reader.whole), pass);
      const bool here = pass_of(phase, reader.node) == pass && whole;
      write.local = write.local && here;
      write.chained = write.chained && here && reader.chained;
    }
  }

  // Whether the pass of node `reader` makes the value of `t` again before it is read there.
  bool made_for(TensorId t, NodeId reader) const {
    const NodeId producer = network_.tensor(t).producer;
    return producer >= 0 && made_[static_cast<size_t>(producer)] != 0 &&
           pass_of_[1][static_cast<size_t>(producer)] == pass_of_[1][static_cast<size_t>(reader)];
  }

  // Whether some backward pass reads the value of `t` that the forward pass left.
  bool stored(TensorId t) const {
    if (!training_) return false;
    const TensorInfo& info = network_.tensor(t);
    if (info.producer >= 0) {
      const Node& producer = network_.node(info.producer);
      if (flow_.has_backward(info.producer) && producer.layer->needs(producer.wants_dx).y &&
          !made_for(t, info.producer))
        return true;
    }
    return std::any_of(info.uses.begin(), info.uses.end(), [&](const Use& use) {
      const Node& node = network_.node(use.node);
      const bool read = made_[static_cast<size_t>(use.node)] != 0 ||
                        (flow_.has_backward(use.node) && node.layer->needs(node.wants_dx).x);
      if (read && !made_for(t, use.node)) return true;
      // A part of a concatenation is stored with the whole.
      return node.layer->concatenates() && stored(node.out);
    });
  }

  // Appends the steps that make the value of `t` again for node `reader`, unless its pass has done so.
  void make_again(TensorId t, NodeId reader, std::vector<Step>& steps) {
    if (!made_for(t, reader)) return;
    const NodeId producer = network_.tensor(t).producer;
    const bool done = std::any_of(steps.begin(), steps.end(),
                                  [&](const Step& step) { return step.recompute && step.node == producer; });
    if (done) return;
    for (TensorId input : network_.node(producer).in) make_again(input, producer, steps);
    steps.push_back(recompute_step(producer));
  }

  Step recompute_step(NodeId n) {
    const Node& node = network_.node(n);
    const Needs needs = node.layer->needs(node.wants_dx);
    Step step;
    step.phase = Phase::backward;
    step.node = n;
    step.recompute = true;
    for (TensorId t : node.in) value_read(step, t, needs.x_sweeps);
    Operand y = operand(node.out, Role::feature, Access::write, elems(node.out));
    y.local = true;
    step.operands.push_back(y);
    step.touches.push_back({BufferKind::recomputed, node.out});
    for (int p = node.first_param; p < node.first_param + node.params; ++p)
      step.operands.push_back(
          operand(p, Role::weight, Access::read, network_.params()[static_cast<size_t>(p)].elems));
    if (needs.aux_bytes_per_sample > 0 && flow_.has_backward(n)) step.touches.push_back({BufferKind::aux, n});
    if (needs.forward_scratch_elems > 0) step.touches.push_back({BufferKind::recompute_scratch, n});
    return step;
  }

  void params(Step& step, const Node& node, bool read) const {
    for (int p = node.first_param; p < node.first_param + node.params; ++p) {
      const int64_t count = network_.params()[static_cast<size_t>(p)].elems;
      if (read) step.operands.push_back(operand(p, Role::weight, Access::read, count));
      if (step.phase == Phase::backward)
        step.operands.push_back(operand(p, Role::weight_gradient, Access::accumulate, count));
    }
  }

  void aux(Step& step, NodeId n, const Needs& needs, Access access) const {
    if (!training_ || !flow_.has_backward(n)) return;
    const bool made = made_[static_cast<size_t>(n)] != 0;  // then it is made again with the output
    if (made && step.phase == Phase::forward) return;
    if (needs.aux_role != Role::none && !made)
      step.operands.push_back(operand(n, needs.aux_role, access, elems(network_.node(n).out)));
    if (needs.aux_bytes_per_sample > 0) step.touches.push_back({BufferKind::aux, n});
    if (needs.aux_bytes_per_batch > 0) step.touches.push_back({BufferKind::batch_aux, n});
  }

  Step forward_step(NodeId n) {
    const Node& node = network_.node(n);
    const Needs needs = node.layer->needs(node.wants_dx);
    const int pass = pass_of(Phase::forward, n);
    Step step;
    step.phase = Phase::forward;
    step.node = n;
    for (int i = 0; i < static_cast<int>(node.in.size()); ++i) {
      const TensorId t = node.in[static_cast<size_t>(i)];
      Operand x = operand(t, Role::feature, Access::read, elems(t));
      x.sweeps = needs.x_sweeps;
      x.local = all_in_pass(Phase::forward, flow_.writers(t), pass);
      x.chained = x.local && flow_.chained({n, i});
      step.operands.push_back(x);
      if (t != network_.input()) step.touches.push_back({BufferKind::value, t});
    }
    Operand y = operand(node.out, Role::feature, Access::write, elems(node.out));
    hand_over(y, Phase::forward, flow_.readers(node.out), pass);
    y.stored = stored(node.out);
    step.operands.push_back(y);
    if (node.layer->concatenates()) step.operands.clear();  // its inputs were written in place
    step.touches.push_back({BufferKind::value, node.out});
    params(step, node, true);
    aux(step, n, needs, Access::write);
    if (needs.forward_scratch_elems > 0) step.touches.push_back({BufferKind::forward_scratch, n});
    return step;
  }

  // A backward pass reads the value of `t`: as it was stored, or as the pass has made it again.
  void value_read(Step& step, TensorId t, int sweeps) const {
    const bool made = made_for(t, step.node);
    Operand o = operand(t, Role::feature, Access::read, elems(t));
    o.sweeps = sweeps;
    o.stored = !made;
    o.local = made;
    step.operands.push_back(o);
    if (t != network_.input()) step.touches.push_back({made ? BufferKind::recomputed : BufferKind::value, t});
  }

  void gradient_in(Step& step, const Node& node, int sweeps, int pass) {
    const Reader writer = flow_.gradient_writer(node.out);
    CHECK(writer.node >= 0, "no gradient reaches '{}'", node.name);
    const TensorId root = flow_.gradient_root(node.out);
    Operand dy = operand(root, Role::gradient, Access::read, elems(node.out));
    dy.sweeps = sweeps;
    dy.local = pass_of(Phase::backward, writer.node) == pass;
    dy.chained = dy.local && writer.chained;
    step.operands.push_back(dy);
    step.touches.push_back({BufferKind::gradient, root});
  }

  void gradient_out(Step& step, const Use& use, int pass) {
    const TensorId t = network_.node(use.node).in[static_cast<size_t>(use.input)];
    const bool wanted = network_.wants_gradient(t) && !flow_.passed(use);
    const bool added = wanted && flow_.adds(use);
    step.dx_wanted.push_back(wanted);
    step.dx_added.push_back(added);
    if (!wanted) return;
    const TensorId root = flow_.gradient_root(t);
    Operand dx = operand(root, Role::gradient, added ? Access::accumulate : Access::write, elems(t));
    hand_over(dx, Phase::backward, flow_.gradient_readers(use), pass);
    dx.sum_local = added && pass_of(Phase::backward, flow_.sum_writer(use)) == pass;
    step.operands.push_back(dx);
    step.touches.push_back({BufferKind::gradient, root});
  }

  Step backward_step(NodeId n) {
    const Node& node = network_.node(n);
    const Needs needs = node.layer->needs(node.wants_dx);
    const int pass = pass_of(Phase::backward, n);
    Step step;
    step.phase = Phase::backward;
    step.node = n;
    if (needs.x) {
      for (TensorId t : node.in) value_read(step, t, needs.stored_sweeps);
    }
    if (needs.y) value_read(step, node.out, needs.stored_sweeps);
    if (!node.layer->is_loss()) gradient_in(step, node, needs.gradient_sweeps, pass);
    for (int i = 0; i < static_cast<int>(node.in.size()); ++i) gradient_out(step, {n, i}, pass);
    if (node.layer->concatenates()) step.operands.clear();
    // A layer of matrix products needs its weights for the data gradient only.
    params(step, node, node.wants_dx || node.layer->gemms(Phase::backward, 1, node.wants_dx).empty());
    aux(step, n, needs, Access::read);
    if (needs.backward_scratch_elems > 0) step.touches.push_back({BufferKind::backward_scratch, n});
    return step;
  }

  const Network& network_;
  const Dataflow& flow_;
  const Schedule& schedule_;
  bool training_ = true;
  std::vector<int> pass_of_[2];
  std::vector<uint8_t> made_;  // by node: its backward pass makes its output again
};

void walk(const Network& network, const Schedule& schedule, int samples, Recorder& recorder, bool fold) {
  const Program program = compile(network, Dataflow(network), schedule);
  CHECK(samples >= 1 && samples <= program.batch, "{} samples in a batch of {}", samples, program.batch);
  EventSource events(network, &recorder);
  for (size_t p = 0; p < program.passes.size(); ++p) {
    const auto& [pass, steps] = program.passes[p];
    const int chunks = pass.chunks(samples);
    for (int chunk = 0; chunk < chunks;) {
      const int first = chunk * pass.sub_batch;
      // The first chunk of a pass writes weight gradients, the last one may be smaller: those between are
      // equal.
      const int equal = fold && chunk > 0 && chunk < chunks - 1 ? chunks - 1 - chunk : 1;
      for (const Step& step : steps)
        events.emit(step, pass, static_cast<int>(p), chunk, first, std::min(pass.sub_batch, samples - first),
                    equal);
      chunk += equal;
    }
  }
}

}  // namespace

Program compile(const Network& network, const Dataflow& flow, const Schedule& schedule) {
  validate(network, schedule);
  return Compiler(network, flow, schedule).compile();
}

void dry_run(const Network& network, const Schedule& schedule, int samples, Recorder& recorder) {
  walk(network, schedule, samples, recorder, false);
}

void folded_dry_run(const Network& network, const Schedule& schedule, int samples, Recorder& recorder) {
  walk(network, schedule, samples, recorder, true);
}

void EventSource::emit(const Step& step, const Pass& pass, int pass_index, int chunk, int first, int samples,
                       int64_t repeat) {
  if (recorder_ == nullptr) return;
  operands_ = step.operands;
  for (Operand& o : operands_) {
    if (o.role != Role::weight && o.role != Role::weight_gradient) o.elems *= samples;
    if (o.role == Role::weight_gradient && chunk == 0) o.access = Access::write;
  }
  const Node& node = network_.node(step.node);
  const Phase computed = step.recompute ? Phase::forward : step.phase;
  const std::vector<GemmShape> gemms = node.layer->gemms(computed, samples, node.wants_dx);
  KernelEvent event;
  event.phase = step.phase;
  event.node = step.node;
  event.name = node.name;
  event.spec = node.spec;
  event.pass = pass_index;
  event.chunk = chunk;
  event.reuse = pass.reuse;
  event.recompute = step.recompute;
  event.repeat = repeat;
  event.first_sample = first;
  event.samples = samples;
  event.gemms = gemms;
  event.operands = operands_;
  recorder_->on_kernel(event);
}

}  // namespace mbs
