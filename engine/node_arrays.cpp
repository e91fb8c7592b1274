#include "engine/node_arrays.h"

#include <algorithm>
#include <map>

namespace mbs {
namespace {

constexpr int64_t kLineElems = 64 / static_cast<int64_t>(sizeof(real));

int64_t in_lines(int64_t elems) { return (elems + kLineElems - 1) / kLineElems * kLineElems; }

int64_t most_bytes(const std::vector<int64_t>& elems, const std::vector<int>& turns) {
  std::map<int, int64_t> of_turn;
  int64_t most = 0;
  for (size_t n = 0; n < elems.size(); ++n) most = std::max(most, of_turn[turns[n]] += in_lines(elems[n]));
  return most * static_cast<int64_t>(sizeof(real));
}

std::vector<int64_t> elems_of(const Network& network, int64_t Needs::*elems) {
  std::vector<int64_t> sizes;
  for (const Node& node : network.nodes()) sizes.push_back(node.layer->needs(node.wants_dx).*elems);
  return sizes;
}

}  // namespace

NodeArrays::NodeArrays(const std::vector<int64_t>& elems, const std::vector<int>& turns)
    : arena_(most_bytes(elems, turns)) {
  std::map<int, int64_t> used;  // by turn
  for (size_t n = 0; n < elems.size(); ++n) {
    int64_t& offset = used[turns[n]];
    offsets_.push_back(elems[n] > 0 ? offset : -1);
    if (elems[n] > 0) nodes_.push_back(static_cast<NodeId>(n));
    offset += in_lines(elems[n]);
  }
}

NodeArrays prepared_arrays(const Network& network) {
  const std::vector<int64_t> elems = elems_of(network, &Needs::prepared_elems);
  return {elems, std::vector<int>(elems.size(), 0)};
}

NodeArrays accumulator_arrays(const Network& network, const Program& program) {
  if (!program.training) return {{}, {}};
  std::vector<int> turns(static_cast<size_t>(network.node_count()), 0);
  int next = 0;
  for (const auto& [pass, steps] : program.passes) {
    if (pass.phase == Phase::forward) continue;
    // In a pass of one chunk every node has its turn.
    const bool one_chunk = pass.chunks(program.batch) == 1;
    for (NodeId n = pass.first; n <= pass.last; ++n)
      turns[static_cast<size_t>(n)] = one_chunk || n == pass.first ? next++ : next - 1;
  }
  return {elems_of(network, &Needs::accumulator_elems), turns};
}

}  // namespace mbs
