#include "mbs/recompute_footprint.h"

#include <algorithm>
#include <map>

#include "engine/program.h"
#include "engine/recompute.h"

namespace mbs {
namespace {

// The steps between which a buffer lives.
struct Life {
  int first, last, touches;
};

bool counts(const BufferName& name) {
  return name.kind == BufferKind::value || name.kind == BufferKind::recomputed ||
         name.kind == BufferKind::gradient;
}

// Whether a value is made for the next call that is no recomputation itself, and for no other.
bool made_on_the_way(const Program::PassSteps& pass, const BufferName& name, const Life& life) {
  if (name.kind != BufferKind::recomputed) return false;
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
  // What streams through takes no space. Gradients of tensors from before the pass stay to be read after it.
  const bool hold = pass.pass.reuse == Reuse::hold;
  std::erase_if(lives, [&](const auto& entry) {
    const auto& [name, life] = entry;
    if (name.kind == BufferKind::value) return !hold || life.touches == 1;
    return !hold && made_on_the_way(pass, name, life);
  });
  for (auto& [name, life] : lives)
    if (name.kind == BufferKind::gradient && network.tensor(name.id).producer < pass.pass.first)
      life.last = steps - 1;

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

// What a block adds to what later blocks of its group need, which make its output again.
struct Carried {
  int64_t output = 0;  // its output
  int64_t stored = 0;  // (hold) the stored values that it is made from
  int64_t input = 0;   // (hold) the block's own input, where it is the first of the group
  int64_t on_the_way =
      0;  // the largest value that is made on the way, with its input where it cannot replace it
};

Carried carried_by(const Network& network, const Recomputation& again, const Block& block, Space space,
                   bool hold) {
  const std::vector<uint8_t> for_all = again.in_pass(block.first, network.node_count() - 1);
  const std::vector<uint8_t> for_itself = again.in_pass(block.first, block.last);
  Carried carried;
  const auto elems = [&](TensorId t) { return network.tensor(t).shape.elems(); };
  for (NodeId n = block.first; n <= block.last; ++n) {
    if (for_all[static_cast<size_t>(n)] == 0 || for_itself[static_cast<size_t>(n)] != 0) continue;
    const Node& node = network.node(n);
    const auto& uses = network.tensor(node.out).uses;
    const bool leaves =
        std::any_of(uses.begin(), uses.end(), [&](const Use& use) { return use.node > block.last; });
    if (leaves && again.read_by_backward(node.out))
      carried.output += elems(node.out);  // others only pass through
    if (!hold) continue;
    carried.on_the_way = std::max(carried.on_the_way, elems(node.out) * (space == Space::in_place ? 1 : 2));
    for (TensorId t : node.in) {
      if (!again.possible(t))
        carried.stored += elems(t);
      else if (network.tensor(t).producer < block.first)
        carried.input = std::max(carried.input, elems(t));
    }
  }
  return carried;
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

std::vector<std::vector<int64_t>> recompute_footprints(const Network& network, Space space,
                                                       Recompute recompute, Reuse backward) {
  const auto blocks = network.blocks();
  const Dataflow flow(network);
  const Recomputation again(network, flow, recompute);
  // Every block by itself, from one program.
  Schedule apart{"apart", 1, {}};
  for (const Block& block : blocks)
    apart.passes.push_back({Phase::forward, block.first, block.last, 1, Reuse::group});
  for (size_t b = blocks.size(); b-- > 0;)
    apart.passes.push_back({Phase::backward, blocks[b].first, blocks[b].last, 1, backward, recompute});
  const Program program = compile(network, flow, apart);

  std::vector<int64_t> alone;
  std::vector<Carried> carried;
  for (size_t b = 0; b < blocks.size(); ++b) {
    const int64_t living = peak_elems(network, program.passes[2 * blocks.size() - 1 - b], space);
    alone.push_back(std::max(living, footprint_elems(network, blocks[b], space, Sharing::across_branches)));
    carried.push_back(carried_by(network, again, blocks[b], space, backward == Reuse::hold));
  }
  std::vector<std::vector<int64_t>> table(blocks.size(), std::vector<int64_t>(blocks.size(), 0));
  for (size_t first = 0; first < blocks.size(); ++first) {
    int64_t before = 0, on_the_way = 0, inner = 0;  // inner: the most that a block needs that is not the last
    for (size_t last = first; last < blocks.size(); ++last) {
      const int64_t at_last = alone[last] + before + on_the_way;
      table[first][last] = std::max(inner, at_last) + (last > first ? carried[first].input : 0);
      inner = std::max(inner, alone[last] + before + std::max(carried[last].stored, on_the_way));
      before += carried[last].output + carried[last].stored;
      on_the_way = std::max(on_the_way, carried[last].on_the_way);
    }
  }
  return table;
}

}  // namespace mbs
