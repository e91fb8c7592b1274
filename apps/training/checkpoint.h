// Weights, optimizer and position of a run in one safetensors file. Weights have torchvision's names and
// torch's layout (convolution: out, in, height, width; linear: out, in with the input ordered channel,
// height, width), so that `model.load_state_dict` takes them. `momentum.KEY` and, where the weights are a
// moving average, `trained.KEY` are there to train on. Everything that is no tensor is text in the metadata.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "apps/training/safetensors.h"
#include "datasets/pixel_normalization.h"
#include "engine/network.h"

namespace mbs {

/// The arrays of a network in training, each as Network::params() or states() lays it out.
struct TrainState {
  std::vector<real> params, states;
  std::vector<real> velocity = {};  ///< momentum of SGD; empty in a checkpoint that is only evaluated
  std::vector<real> trained = {};   ///< what SGD updates, where `params` is its moving average; else empty
};

/// The same arrays, which someone else owns.
template <class Real>
struct TrainSpans {
  std::span<Real> params, states, velocity, trained = {};
};

/// The arrays of `state`.
TrainSpans<const real> spans_of(const TrainState& state);

/// Where a run stands. The running sums are those of the epoch that it is in.
struct RunPosition {
  int64_t epoch = 0, batch = 0;  ///< epochs done, and batches of the next one
  int64_t step = 0;              ///< updates done
  double loss_sum = 0;
  int64_t correct = 0, samples = 0;
  double best_accuracy = -1;  ///< on the validation part; -1: none yet
  int64_t best_epoch = -1;
  double train_seconds = 0;
  int64_t log_bytes = 0, summary_bytes = 0;  ///< of log.jsonl and summary.csv when it was here
};

/// What else a checkpoint says.
struct CheckpointInfo {
  RunPosition position;
  int64_t seed = 0;
  Normalization normalization;
  std::vector<std::string> class_names;
  int image_border = 0;  ///< Dataset::border
};

/// Names what a set of weights fits: name, input shape and a hash of the names and specifications of all
/// nodes. A network and its fused form (layers/fusion.h) have the same weights and the same identity.
std::string network_identity(const Network& network);

/// Replaces the file at `path`. `state.velocity` and `state.trained` may be empty. Needs little memory
/// besides the arrays.
void save_checkpoint(const std::string& path, const Network& network, const TrainSpans<const real>& state,
                     const CheckpointInfo& info);

/// An open checkpoint, before its weights have met their network.
struct Checkpoint {
  SafeTensorsReader file;
  CheckpointInfo info;
};

/// Error: not a checkpoint of ours, or damaged; the message names the file and the field.
Checkpoint read_checkpoint(const std::string& path);

/// Reads its weights, for this network, into `state`, whose `velocity` and `trained` may be empty. Error: the
/// checkpoint is of another network, or lacks an array that `state` has.
void restore(const Checkpoint& checkpoint, const Network& network, const TrainSpans<real>& state);
/// The same into new arrays, without `trained`.
TrainState restore(const Checkpoint& checkpoint, const Network& network, bool with_velocity);

}  // namespace mbs
