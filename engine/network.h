// A network as data: nodes in topological order, tensors between them, and the blocks that grouping may not
// split.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/layer.h"

namespace mbs {

using TensorId = int;
using NodeId = int;

/// A place where a tensor is read: input number `input` of node `node`.
struct Use {
  NodeId node;
  int input;
  bool operator==(const Use&) const = default;
};

/// One tensor: the network's input (producer -1) or the output of a node.
struct TensorInfo {
  Shape shape;
  NodeId producer = -1;
  std::vector<Use> uses;  ///< in topological order
};

/// One layer in its place.
struct Node {
  std::string name;  ///< "layer1.0.conv1": prefix of its parameters' keys
  std::string spec;
  std::shared_ptr<const Layer> layer;
  std::vector<TensorId> in;
  TensorId out = -1;
  int block = -1;  ///< index into blocks()
  int branch = 0;  ///< 0, 1, ... inside a module; kJoin for the nodes that merge the branches and follow
  int first_param = 0, params = 0;  ///< its range in Network::params()
  int first_state = 0, states = 0;  ///< its range in Network::states()
  bool wants_dx = false;            ///< some input's gradient is needed
  int random_key = 0;  ///< of its random values: made from the name, so that a rewritten network keeps them
};
inline constexpr int kJoin = -1;

/// The atom of grouping: a plain layer, or a whole module.
struct Block {
  enum class Kind : uint8_t { plain, residual, inception };
  std::string name;
  Kind kind;
  NodeId first, last;
};

/// A parameter in the flat array of all parameters.
struct ParamInfo {
  std::string key;  ///< "layer1.0.conv1.weight"
  ParamSpec spec;
  NodeId node;
  int64_t offset, elems;  ///< in elements; offsets are multiples of 16
};

/// A state array in the flat array of all states.
struct StateInfo {
  std::string key;
  StateSpec spec;
  NodeId node;
  int64_t offset;
};

/// Makes the layer that a specification names. Lives in layers/; engine/ knows no particular layer.
std::shared_ptr<const Layer> make_layer(std::string_view spec, std::span<const Shape> in);

/// A feed-forward network. Built node by node; shapes are inferred and checked when a node is added.
class Network {
 public:
  Network(std::string name, Shape input);

  TensorId input() const { return 0; }

  /// Adds a layer that reads `in` and returns its output. Error (usage): the specification is wrong, or does
  /// not fit its inputs; a name that is taken is a CHECK.
  TensorId add(const std::string& name, std::string_view spec, std::initializer_list<TensorId> in);
  TensorId add(const std::string& name, std::string_view spec, std::span<const TensorId> in);

  /// Opens a module: the nodes added until end_block() are one block, starting on branch 0.
  void begin_block(const std::string& name, Block::Kind kind);
  /// The nodes that follow are on the next branch; join(): they merge the branches.
  void next_branch();
  void join();
  void end_block();

  const std::string& name() const { return name_; }
  std::span<const Node> nodes() const { return nodes_; }
  const Node& node(NodeId n) const { return nodes_[static_cast<size_t>(n)]; }
  int node_count() const { return static_cast<int>(nodes_.size()); }
  std::span<const TensorInfo> tensors() const { return tensors_; }
  const TensorInfo& tensor(TensorId t) const { return tensors_[static_cast<size_t>(t)]; }
  std::span<const Block> blocks() const { return blocks_; }
  std::span<const ParamInfo> params() const { return params_; }
  std::span<const StateInfo> states() const { return states_; }
  /// Elements of the flat arrays, padding included.
  int64_t param_array_elems() const { return param_elems_; }
  int64_t state_array_elems() const { return state_elems_; }
  /// Trained parameters, without padding: what is published as "parameters".
  int64_t parameter_count() const;
  /// The output of the last node.
  TensorId output() const { return nodes_.back().out; }
  /// Whether the gradient of a tensor is needed: some parameter lies upstream.
  bool wants_gradient(TensorId t) const;
  /// The last node's layer is the loss that training starts from.
  bool has_loss() const { return !nodes_.empty() && nodes_.back().layer->is_loss(); }
  /// Classes that the loss tells apart: its output is {loss, a probability for each}.
  int classes() const { return static_cast<int>(tensor(output()).shape.elems()) - 1; }

 private:
  std::string name_;
  std::vector<Node> nodes_;
  std::vector<TensorInfo> tensors_;
  std::vector<Block> blocks_;
  std::vector<ParamInfo> params_;
  std::vector<StateInfo> states_;
  std::vector<uint8_t> wants_gradient_;
  int64_t param_elems_ = 0, state_elems_ = 0;
  bool in_block_ = false;
  int branch_ = 0;
};

}  // namespace mbs
