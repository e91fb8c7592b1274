#include "apps/checkpoint.h"

#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "apps/hash.h"
#include "apps/table.h"
#include "engine/check.h"
#include "engine/optimizer.h"
#include "layers/fusion.h"

namespace mbs {
namespace {

using Json = nlohmann::json;
constexpr const char* kFormat = "mbs-checkpoint-1";
const std::string kMomentum = "momentum.";

/// How an array of ours is ordered in torch: `shape`, and for element i of torch's order its place in ours.
struct TorchLayout {
  std::vector<int64_t> shape;
  std::vector<int64_t> from;
};

/// {kh, kw, c_in, c_out} -> (c_out, c_in, kh, kw).
TorchLayout conv_layout(const std::vector<int>& dims) {
  const int64_t kh = dims[0], kw = dims[1], ci = dims[2], co = dims[3];
  TorchLayout layout{{co, ci, kh, kw}, {}};
  for (int64_t o = 0; o < co; ++o)
    for (int64_t i = 0; i < ci; ++i)
      for (int64_t h = 0; h < kh; ++h)
        for (int64_t w = 0; w < kw; ++w) layout.from.push_back(((h * kw + w) * ci + i) * co + o);
  return layout;
}

/// {in, out} -> (out, in); an input that was an image is flattened height, width, channel here and channel,
/// height, width there.
TorchLayout linear_layout(const std::vector<int>& dims, const Shape& input) {
  const int64_t out = dims[1];
  TorchLayout layout{{out, dims[0]}, {}};
  for (int64_t o = 0; o < out; ++o)
    for (int c = 0; c < input.c; ++c)
      for (int64_t p = 0; p < input.pixels(); ++p) layout.from.push_back((p * input.c + c) * out + o);
  return layout;
}

TorchLayout torch_layout(const Network& network, const ParamInfo& param) {
  if (param.spec.kind == ParamKind::conv_weight) return conv_layout(param.spec.dims);
  if (param.spec.kind == ParamKind::linear_weight)
    return linear_layout(param.spec.dims, network.node(param.node).layer->in_shape());
  TorchLayout layout{{param.elems}, {}};
  for (int64_t i = 0; i < param.elems; ++i) layout.from.push_back(i);
  return layout;
}

SafeTensor to_torch(const TorchLayout& layout, const real* values) {
  std::vector<real> turned;
  turned.reserve(layout.from.size());
  for (const int64_t from : layout.from) turned.push_back(values[from]);
  return make_tensor(std::span<const real>(turned), layout.shape);
}

void from_torch(const TorchLayout& layout, const Checkpoint& checkpoint, const std::string& key,
                real* values) {
  const auto found = checkpoint.file.tensors.find(key);
  if (found == checkpoint.file.tensors.end()) fail("{}: tensor '{}' is missing", checkpoint.path, key);
  if (found->second.shape != layout.shape)
    fail("{}: tensor '{}' has shape ({}), expected ({})", checkpoint.path, key,
         joined(found->second.shape, ", "), joined(layout.shape, ", "));
  const std::vector<double> turned = tensor_values(found->second);
  for (size_t i = 0; i < turned.size(); ++i) values[layout.from[i]] = static_cast<real>(turned[i]);
}

/// Visits every field of the metadata that is a number: visit(name, field).
template <class Info, class Visit>
void visit_numbers(Info& info, Visit&& visit) {
  visit("epoch", info.position.epoch);
  visit("batch", info.position.batch);
  visit("step", info.position.step);
  visit("loss_sum", info.position.loss_sum);
  visit("correct", info.position.correct);
  visit("samples", info.position.samples);
  visit("best_accuracy", info.position.best_accuracy);
  visit("best_epoch", info.position.best_epoch);
  visit("train_seconds", info.position.train_seconds);
  visit("log_bytes", info.position.log_bytes);
  visit("summary_bytes", info.position.summary_bytes);
  visit("seed", info.seed);
  visit("image_border", info.image_border);
}

// Doubles as hexadecimal, which loses no bit.
std::string number_text(double value) { return fmt::format("{:a}", value); }
std::string number_text(int64_t value) { return fmt::format("{}", value); }

template <class Number>
bool parse_number(const std::string& text, Number& value) {
  char* end = nullptr;
  if constexpr (std::is_same_v<Number, double>)
    value = std::strtod(text.c_str(), &end);
  else
    value = static_cast<Number>(std::strtoll(text.c_str(), &end, 10));
  return !text.empty() && *end == '\0';
}

const std::string& field(const Checkpoint& checkpoint, const std::string& name) {
  const auto found = checkpoint.file.metadata.find(name);
  if (found == checkpoint.file.metadata.end())
    fail("{}: '{}' is missing in its metadata: not a checkpoint of mbs", checkpoint.path, name);
  return found->second;
}

/// A list that was stored as JSON.
template <class T>
std::vector<T> list_field(const Checkpoint& checkpoint, const std::string& name) {
  const Json list = Json::parse(field(checkpoint, name), nullptr, /*allow_exceptions=*/false);
  bool good = list.is_array();
  for (const Json& entry : list)
    good = good && (std::is_same_v<T, double> ? entry.is_number() : entry.is_string());
  if (!good) fail("{}: '{}' in its metadata is not a list: damaged", checkpoint.path, name);
  return list.get<std::vector<T>>();
}

// Names a network as it stands, fused or not.
std::string identity_as_is(const Network& network) {
  std::string text;  // what the weights depend on
  for (const Node& node : network.nodes())
    if (!node.layer->is_loss()) text += node.name + " " + node.spec + "\n";
  const Shape input = network.tensor(network.input()).shape;
  return fmt::format("{} for {}x{}x{} ({:016x})", network.name(), input.h, input.w, input.c,
                     fnv1a(std::as_bytes(std::span(text))));
}

}  // namespace

std::string network_identity(const Network& network) { return identity_as_is(fuse_relu(network)); }

void save_checkpoint(const std::string& path, const Network& network, const TrainState& state,
                     const CheckpointInfo& info) {
  SafeTensors file;
  for (const ParamInfo& param : network.params()) {
    const TorchLayout layout = torch_layout(network, param);
    file.tensors[param.key] = to_torch(layout, state.params.data() + param.offset);
    if (!state.velocity.empty())
      file.tensors[kMomentum + param.key] = to_torch(layout, state.velocity.data() + param.offset);
  }
  for (const StateInfo& entry : network.states())
    file.tensors[entry.key] =
        make_tensor(std::span<const real>(state.states)
                        .subspan(static_cast<size_t>(entry.offset), static_cast<size_t>(entry.spec.elems)),
                    {entry.spec.elems});
  file.metadata["format"] = kFormat;
  file.metadata["network"] = network_identity(network);
  visit_numbers(info, [&](const char* name, auto value) {
    using Number = std::conditional_t<std::is_floating_point_v<decltype(value)>, double, int64_t>;
    file.metadata[name] = number_text(static_cast<Number>(value));
  });
  file.metadata["mean"] = Json(info.normalization.mean).dump();
  file.metadata["stddev"] = Json(info.normalization.stddev).dump();
  file.metadata["class_names"] = Json(info.class_names).dump();
  write_safetensors(path, file);
}

Checkpoint read_checkpoint(const std::string& path) {
  Checkpoint checkpoint{path, read_safetensors(path), {}};
  if (field(checkpoint, "format") != kFormat)
    fail("{}: its format is '{}', expected '{}'", path, field(checkpoint, "format"), kFormat);
  field(checkpoint, "network");
  CheckpointInfo& info = checkpoint.info;
  visit_numbers(info, [&](const char* name, auto& value) {
    if (!parse_number(field(checkpoint, name), value))
      fail("{}: '{}' in its metadata is not a number: damaged", path, name);
  });
  info.normalization = {list_field<double>(checkpoint, "mean"), list_field<double>(checkpoint, "stddev")};
  info.class_names = list_field<std::string>(checkpoint, "class_names");
  if (info.normalization.mean.size() != info.normalization.stddev.size() || info.normalization.mean.empty())
    fail("{}: mean and stddev in its metadata do not fit together: damaged", path);
  return checkpoint;
}

TrainState restore(const Checkpoint& checkpoint, const Network& network, bool with_velocity) {
  const std::string expected = network_identity(network), actual = field(checkpoint, "network");
  // Files of runs without fusion once named the network as it ran.
  if (actual != expected && actual != identity_as_is(network))
    fail(
        "{} holds the weights of {}, not of {}: give the options that it was trained with (config.toml "
        "beside it)",
        checkpoint.path, actual, expected);
  TrainState state{initial_params(network, 0), initial_states(network), {}};
  if (with_velocity) state.velocity.assign(state.params.size(), real{0});
  for (const ParamInfo& param : network.params()) {
    const TorchLayout layout = torch_layout(network, param);
    from_torch(layout, checkpoint, param.key, state.params.data() + param.offset);
    if (with_velocity)
      from_torch(layout, checkpoint, kMomentum + param.key, state.velocity.data() + param.offset);
  }
  for (const StateInfo& entry : network.states()) {
    TorchLayout layout{{entry.spec.elems}, {}};
    for (int64_t i = 0; i < entry.spec.elems; ++i) layout.from.push_back(i);
    from_torch(layout, checkpoint, entry.key, state.states.data() + entry.offset);
  }
  return state;
}

}  // namespace mbs
