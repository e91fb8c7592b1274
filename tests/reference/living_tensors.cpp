#include "tests/reference/living_tensors.h"

#include <algorithm>
#include <map>

#include "engine/program.h"

namespace mbs::reference {
namespace {

// The steps between which a buffer lives.
struct Life {
  int first, last, touches;
};

bool counts(const BufferName& name) {
  return name.kind == BufferKind::value || name.kind == BufferKind::recomputed ||
         name.kind == BufferKind::gradient;
}

// Whether a value is made for the next call that is no recomputation itself, and for no other, value by
// value.
bool made_on_the_way(const Network& network, const Program::PassSteps& pass, const BufferName& name,
                     const Life& life) {
  if (name.kind != BufferKind::recomputed) return false;
  const Node& producer = network.node(network.tensor(name.id).producer);
  if (producer.layer->has_matrix_product()) return false;
  for (int s = life.first; s < life.last; ++s)
    if (!pass.steps[static_cast<size_t>(s)].recompute) return false;
  return true;
}

// Largest sum of living buffers in the steps of one backward pass.
int64_t peak_elems(const Network& network, const Program::PassSteps& pass, Space space) {
  const auto elems = [&](const BufferName& name) { return network.tensor(name.id).shape.elems(); };
  const int steps = static_cast<int>(pass.steps.size());
  std::map<BufferName, Life> lives;
  for (int s = 0; s < steps; ++s) {
    for (const BufferName& name : pass.steps[static_cast<size_t>(s)].touches) {
      if (!counts(name)) continue;
      Life& life = lives.try_emplace(name, Life{s, s, 0}).first->second;
      life.last = s;
      ++life.touches;
    }
  }
  // What streams through takes no space. Gradients of tensors from before the pass stay to be read after it;
  // those that come from later passes may be there from the start.
  const bool hold = pass.pass.reuse == Reuse::hold;
  std::erase_if(lives, [&](const auto& entry) {
    const auto& [name, life] = entry;
    if (name.kind == BufferKind::value) return !hold || life.touches == 1;
    return !hold && made_on_the_way(network, pass, name, life);
  });
  for (auto& [name, life] : lives) {
    if (name.kind != BufferKind::gradient) continue;
    if (network.tensor(name.id).uses.back().node > pass.pass.last) life.first = 0;
    if (network.tensor(name.id).producer < pass.pass.first) life.last = steps - 1;
  }

  std::vector<int64_t> sums(static_cast<size_t>(steps), 0), born = sums, dying = sums;
  for (const auto& [name, life] : lives) {
    for (int s = life.first; s <= life.last; ++s) sums[static_cast<size_t>(s)] += elems(name);
    if (life.first == life.last) continue;
    int64_t& made = born[static_cast<size_t>(life.first)];
    int64_t& freed = dying[static_cast<size_t>(life.last)];
    made = std::max(made, elems(name));
    freed = std::max(freed, elems(name));
  }
  // A layer that works in place writes over the operand that nobody needs any more.
  for (size_t s = 0; space == Space::in_place && s < sums.size(); ++s)
    if (network.node(pass.steps[s].node).layer->in_place()) sums[s] -= std::min(born[s], dying[s]);
  return sums.empty() ? 0 : *std::max_element(sums.begin(), sums.end());
}

// Groups before, of, and after [first, last], each in one pass of one sample.
Schedule schedule_around(const Network& network, Recompute recompute, Reuse backward, int first_block,
                         int last_block) {
  const NodeId first = network.blocks()[static_cast<size_t>(first_block)].first;
  const NodeId last = network.blocks()[static_cast<size_t>(last_block)].last;
  Schedule s{"around", 1, {}};
  if (first > 0) s.passes.push_back({Phase::forward, 0, first - 1, 1, Reuse::group});
  s.passes.push_back({Phase::forward, first, last, 1, Reuse::group});
  if (last + 1 < network.node_count())
    s.passes.push_back({Phase::forward, last + 1, network.node_count() - 1, 1, Reuse::group});
  for (size_t p = s.passes.size(); p-- > 0;) {
    Pass pass = s.passes[p];
    pass.phase = Phase::backward;
    pass.reuse = backward;
    pass.recompute = recompute;
    s.passes.push_back(pass);
  }
  return s;
}

}  // namespace

int64_t living_elems(const Network& network, Space space, Recompute recompute, Reuse backward,
                     int first_block, int last_block) {
  const Program program = compile(network, Dataflow(network),
                                  schedule_around(network, recompute, backward, first_block, last_block));
  const NodeId first = network.blocks()[static_cast<size_t>(first_block)].first;
  for (const Program::PassSteps& pass : program.passes)
    if (pass.pass.phase == Phase::backward && pass.pass.first == first)
      return peak_elems(network, pass, space);
  return 0;
}

}  // namespace mbs::reference
