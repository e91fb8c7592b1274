#include "apps/training/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "apps/report/number_text.h"
#include "apps/system/hash.h"
#include "engine/check.h"
#include "layers/fusion.h"

namespace mbs {
namespace {

using Json = nlohmann::json;
constexpr const char* kFormat = "mbs-checkpoint-1";
const std::string kMomentum = "momentum.", kTrained = "trained.";
constexpr int64_t kPieceElems = int64_t{1} << 17;  // read or written at a time

/// How an array of ours is ordered in torch. It is [pixels][channels][out] here and [out][channels][pixels]
/// there; a vector is all `out`.
struct TorchLayout {
  std::vector<int64_t> shape;
  int64_t out, channels = 1, pixels = 1;

  int64_t row_elems() const { return channels * pixels; }
  SafeTensor tensor() const { return {dtype_of<real>(), shape}; }
};

TorchLayout vector_layout(int64_t elems) { return {{elems}, elems}; }

/// {kh, kw, c_in, c_out} -> (c_out, c_in, kh, kw).
TorchLayout conv_layout(const std::vector<int>& dims) {
  const int64_t kh = dims[0], kw = dims[1], ci = dims[2], co = dims[3];
  return {{co, ci, kh, kw}, co, ci, kh * kw};
}

/// {in, out} -> (out, in); an input that was an image is flattened height, width, channel here and channel,
/// height, width there.
TorchLayout linear_layout(const std::vector<int>& dims, const Shape& input) {
  return {{dims[1], dims[0]}, dims[1], input.c, input.pixels()};
}

TorchLayout torch_layout(const Network& network, const ParamInfo& param) {
  if (param.spec.kind == ParamKind::conv_weight) return conv_layout(param.spec.dims);
  if (param.spec.kind == ParamKind::linear_weight)
    return linear_layout(param.spec.dims, network.node(param.node).layer->in_shape());
  return vector_layout(param.elems);
}

/// Goes through the array in pieces of whole rows of torch's order: visit(first row, rows).
template <class Visit>
void visit_pieces(const TorchLayout& layout, Visit&& visit) {
  const int64_t most = std::max<int64_t>(kPieceElems / layout.row_elems(), 1);
  for (int64_t first = 0; first < layout.out; first += most) visit(first, std::min(most, layout.out - first));
}

/// Pairs the places of a piece: visit(in the piece as torch orders it, in our array).
template <class Visit>
void visit_places(const TorchLayout& layout, int64_t first_row, int64_t rows, Visit&& visit) {
  for (int64_t p = 0; p < layout.pixels; ++p)
    for (int64_t c = 0; c < layout.channels; ++c)
      for (int64_t row = 0; row < rows; ++row)
        visit((row * layout.channels + c) * layout.pixels + p,
              (p * layout.channels + c) * layout.out + first_row + row);
}

/// One array of a network in a checkpoint: `Real` is const where it is written to the file.
template <class Real>
struct Item {
  std::string key;
  TorchLayout layout;
  Real* values;
};

template <class Real>
std::vector<Item<Real>> items_of(const Network& network, const TrainSpans<Real>& state) {
  std::vector<Item<Real>> items;
  for (const ParamInfo& param : network.params()) {
    const TorchLayout layout = torch_layout(network, param);
    items.push_back({param.key, layout, state.params.data() + param.offset});
    if (!state.velocity.empty())
      items.push_back({kMomentum + param.key, layout, state.velocity.data() + param.offset});
    if (!state.trained.empty())
      items.push_back({kTrained + param.key, layout, state.trained.data() + param.offset});
  }
  for (const StateInfo& entry : network.states())
    items.push_back({entry.key, vector_layout(entry.spec.elems), state.states.data() + entry.offset});
  return items;
}

void write_item(const Item<const real>& item, SafeTensorsWriter& file) {
  std::vector<real> piece;
  visit_pieces(item.layout, [&](int64_t first, int64_t rows) {
    piece.resize(static_cast<size_t>(rows * item.layout.row_elems()));
    visit_places(item.layout, first, rows,
                 [&](int64_t there, int64_t here) { piece[static_cast<size_t>(there)] = item.values[here]; });
    file.add(std::as_bytes(std::span(piece)));
  });
}

void read_item(const Item<real>& item, const SafeTensorsReader& file) {
  const auto found = file.tensors().find(item.key);
  if (found == file.tensors().end()) fail("{}: tensor '{}' is missing", file.path(), item.key);
  if (found->second.shape != item.layout.shape)
    fail("{}: tensor '{}' has shape ({}), expected ({})", file.path(), item.key,
         joined(found->second.shape, ", "), joined(item.layout.shape, ", "));
  std::vector<double> piece;
  visit_pieces(item.layout, [&](int64_t first, int64_t rows) {
    piece.resize(static_cast<size_t>(rows * item.layout.row_elems()));
    file.read(item.key, first * item.layout.row_elems(), piece);
    visit_places(item.layout, first, rows, [&](int64_t there, int64_t here) {
      item.values[here] = static_cast<real>(piece[static_cast<size_t>(there)]);
    });
  });
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
  const auto found = checkpoint.file.metadata().find(name);
  if (found == checkpoint.file.metadata().end())
    fail("{}: '{}' is missing in its metadata: not a checkpoint of mbs", checkpoint.file.path(), name);
  return found->second;
}

/// A list that was stored as JSON.
template <class T>
std::vector<T> list_field(const Checkpoint& checkpoint, const std::string& name) {
  const Json list = Json::parse(field(checkpoint, name), nullptr, /*allow_exceptions=*/false);
  bool good = list.is_array();
  for (const Json& entry : list)
    good = good && (std::is_same_v<T, double> ? entry.is_number() : entry.is_string());
  if (!good) fail("{}: '{}' in its metadata is not a list: damaged", checkpoint.file.path(), name);
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

TrainSpans<const real> spans_of(const TrainState& state) {
  return {state.params, state.states, state.velocity, state.trained};
}

void save_checkpoint(const std::string& path, const Network& network, const TrainSpans<const real>& state,
                     const CheckpointInfo& info) {
  std::vector<Item<const real>> items = items_of(network, state);
  std::sort(items.begin(), items.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
  SafeTensors head;
  for (const auto& item : items) head.tensors[item.key] = item.layout.tensor();
  head.metadata["format"] = kFormat;
  head.metadata["network"] = network_identity(network);
  visit_numbers(info, [&](const char* name, auto value) {
    using Number = std::conditional_t<std::is_floating_point_v<decltype(value)>, double, int64_t>;
    head.metadata[name] = number_text(static_cast<Number>(value));
  });
  head.metadata["mean"] = Json(info.normalization.mean).dump();
  head.metadata["stddev"] = Json(info.normalization.stddev).dump();
  head.metadata["class_names"] = Json(info.class_names).dump();
  SafeTensorsWriter file(path, std::move(head));
  for (const auto& item : items) write_item(item, file);
  file.commit();
}

Checkpoint read_checkpoint(const std::string& path) {
  Checkpoint checkpoint{SafeTensorsReader(path), {}};
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

void restore(const Checkpoint& checkpoint, const Network& network, const TrainSpans<real>& state) {
  const std::string expected = network_identity(network), actual = field(checkpoint, "network");
  // Files of runs without fusion once named the network as it ran.
  if (actual != expected && actual != identity_as_is(network))
    fail(
        "{} holds the weights of {}, not of {}: give the options that it was trained with (config.toml "
        "beside it)",
        checkpoint.file.path(), actual, expected);
  for (const Item<real>& item : items_of(network, state)) read_item(item, checkpoint.file);
}

TrainState restore(const Checkpoint& checkpoint, const Network& network, bool with_velocity) {
  const auto params = static_cast<size_t>(network.param_array_elems());
  TrainState state;
  state.params.resize(params);
  state.states.resize(static_cast<size_t>(network.state_array_elems()));
  state.velocity.resize(with_velocity ? params : 0);
  restore(checkpoint, network, TrainSpans<real>{state.params, state.states, state.velocity});
  return state;
}

}  // namespace mbs
