#include "engine/node_arrays.h"

namespace mbs {
namespace {

constexpr int64_t kLineElems = 64 / static_cast<int64_t>(sizeof(real));

int64_t in_lines(int64_t elems) { return (elems + kLineElems - 1) / kLineElems * kLineElems; }

int64_t total_bytes(const std::vector<int64_t>& elems) {
  int64_t total = 0;
  for (int64_t n : elems) total += in_lines(n);
  return total * static_cast<int64_t>(sizeof(real));
}

NodeArrays arrays_of(const Network& network, int64_t Needs::*elems) {
  std::vector<int64_t> sizes;
  for (const Node& node : network.nodes()) sizes.push_back(node.layer->needs(node.wants_dx).*elems);
  return NodeArrays(sizes);
}

}  // namespace

NodeArrays::NodeArrays(const std::vector<int64_t>& elems) : arena_(total_bytes(elems)) {
  int64_t offset = 0;
  for (size_t n = 0; n < elems.size(); ++n) {
    offsets_.push_back(elems[n] > 0 ? offset : -1);
    if (elems[n] > 0) nodes_.push_back(static_cast<NodeId>(n));
    offset += in_lines(elems[n]);
  }
}

NodeArrays prepared_arrays(const Network& network) { return arrays_of(network, &Needs::prepared_elems); }
NodeArrays accumulator_arrays(const Network& network) {
  return arrays_of(network, &Needs::accumulator_elems);
}

}  // namespace mbs
