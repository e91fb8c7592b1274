#include "engine/network.h"

#include "engine/check.h"

namespace mbs {
namespace {

// Arrays start at multiples of 16 elements, a vector of the widest instruction set.
constexpr int64_t kAlignElems = 16;

int64_t aligned(int64_t elems) { return (elems + kAlignElems - 1) / kAlignElems * kAlignElems; }

// A hash of the name (FNV-1a), not negative.
int random_key(std::string_view name) {
  uint32_t hash = 2166136261;
  for (char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619;
  return static_cast<int>(hash & 0x7fffffff);
}

}  // namespace

Network::Network(std::string name, Shape input) : name_(std::move(name)) {
  tensors_.push_back({input, -1, {}});
  wants_gradient_.push_back(false);
}

TensorId Network::add(const std::string& name, std::string_view spec, std::initializer_list<TensorId> in) {
  return add(name, spec, std::span<const TensorId>(in.begin(), in.size()));
}

TensorId Network::add(const std::string& name, std::string_view spec, std::span<const TensorId> in) {
  for (const Node& other : nodes_) CHECK(other.name != name, "two nodes are named '{}'", name);
  std::vector<Shape> shapes;
  for (TensorId t : in) {
    CHECK(t >= 0 && t < static_cast<int>(tensors_.size()), "node '{}' reads tensor {}", name, t);
    shapes.push_back(tensor(t).shape);
  }
  Node node;
  node.name = name;
  node.random_key = random_key(name);
  node.spec = spec;
  node.layer = make_layer(spec, shapes);
  node.in.assign(in.begin(), in.end());
  node.out = static_cast<TensorId>(tensors_.size());
  const NodeId id = node_count();

  node.first_param = static_cast<int>(params_.size());
  for (ParamSpec& p : node.layer->params()) {
    int64_t elems = 1;
    for (int d : p.dims) elems *= d;
    params_.push_back({name + "." + p.name, p, id, param_elems_, elems});
    param_elems_ += aligned(elems);
    ++node.params;
  }
  node.first_state = static_cast<int>(states_.size());
  for (StateSpec& s : node.layer->states()) {
    states_.push_back({name + "." + s.name, s, id, state_elems_});
    state_elems_ += aligned(s.elems);
    ++node.states;
  }

  for (size_t i = 0; i < in.size(); ++i) {
    tensors_[static_cast<size_t>(in[i])].uses.push_back({id, static_cast<int>(i)});
    node.wants_dx = node.wants_dx || wants_gradient(in[i]);
  }
  if (in_block_) {
    node.branch = branch_;
    blocks_.back().last = id;
  } else {
    blocks_.push_back({name, Block::Kind::plain, id, id});
  }
  node.block = static_cast<int>(blocks_.size()) - 1;

  tensors_.push_back({node.layer->out_shape(), id, {}});
  wants_gradient_.push_back(node.wants_dx || node.params > 0);
  nodes_.push_back(std::move(node));
  return nodes_.back().out;
}

void Network::begin_block(const std::string& name, Block::Kind kind) {
  CHECK(!in_block_, "block '{}' is opened inside another", name);
  blocks_.push_back({name, kind, node_count(), node_count() - 1});
  in_block_ = true;
  branch_ = 0;
}

void Network::next_branch() {
  CHECK(in_block_ && branch_ != kJoin, "a branch outside of a block");
  ++branch_;
}

void Network::join() {
  CHECK(in_block_, "a join outside of a block");
  branch_ = kJoin;
}

void Network::end_block() {
  CHECK(in_block_ && blocks_.back().last >= blocks_.back().first, "an empty block");
  in_block_ = false;
}

int64_t Network::parameter_count() const {
  int64_t count = 0;
  for (const ParamInfo& p : params_) count += p.elems;
  return count;
}

bool Network::wants_gradient(TensorId t) const { return wants_gradient_[static_cast<size_t>(t)] != 0; }

}  // namespace mbs
