// Checkpoints: torch's layout, exact numbers, other networks, and a disk that fills up.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "apps/options/settings.h"
#include "apps/system/atomic_file.h"
#include "apps/system/child_process.h"
#include "apps/system/hash.h"
#include "apps/training/checkpoint.h"
#include "engine/check.h"
#include "engine/optimizer.h"
#include "layers/fusion.h"
#include "layers/zoo/zoo.h"
#include "tests/doctest.h"
#include "tests/helpers.h"
#include "tests/safetensors_file.h"

namespace mbs {
namespace {

namespace fs = std::filesystem;

/// Convolution, batch norm (for its states), and a linear layer over an image that is more than one pixel.
Network small_network(int out = 3) {
  Network network("small", {4, 4, 2});
  TensorId x = network.add("conv", fmt::format("conv2d out={} kernel=2x3", out), {network.input()});
  x = network.add("bn", "batch_norm", {x});
  x = network.add("fc", "linear out=5", {x});
  network.add("loss", "softmax_loss", {x});
  return network;
}

TrainState numbered_state(const Network& network) {
  TrainState state{initial_params(network, 7), initial_states(network), {}};
  std::iota(state.params.begin(), state.params.end(), real{1});
  std::iota(state.states.begin(), state.states.end(), real{0.25});
  state.velocity.resize(state.params.size());
  std::iota(state.velocity.begin(), state.velocity.end(), real{-500});
  return state;
}

const ParamInfo& param(const Network& network, const std::string& key) {
  for (const ParamInfo& p : network.params())
    if (p.key == key) return p;
  fail("no parameter {}", key);
}

CheckpointInfo sample_info() {
  CheckpointInfo info;
  info.position = {.epoch = 3,
                   .batch = 17,
                   .step = 1070,
                   .loss_sum = 0.1 + 0.2,
                   .correct = 5,
                   .samples = 9,
                   .best_accuracy = 1.0 / 3,
                   .best_epoch = 2,
                   .train_seconds = 1e-3,
                   .log_bytes = 12,
                   .summary_bytes = 34};
  info.seed = 42;
  info.normalization = {{0.1, 0.2}, {0.3, 1.0 / 7}};
  info.class_names = {"a \"b\"", "c,d", "", "e", "f"};
  info.image_border = 2;
  return info;
}

void save(const std::string& path, const Network& network, const TrainState& state,
          const CheckpointInfo& info) {
  save_checkpoint(path, network, spans_of(state), info);
}

/// But for the padding between arrays, which no file holds.
void expect_same(const Network& network, const TrainState& a, const TrainState& b) {
  for (const ParamInfo& p : network.params())
    for (int64_t i = p.offset; i < p.offset + p.elems; ++i) {
      REQUIRE(a.params[static_cast<size_t>(i)] == b.params[static_cast<size_t>(i)]);
      REQUIRE(a.velocity[static_cast<size_t>(i)] == b.velocity[static_cast<size_t>(i)]);
    }
  for (const StateInfo& s : network.states())
    for (int64_t i = s.offset; i < s.offset + s.spec.elems; ++i)
      REQUIRE(a.states[static_cast<size_t>(i)] == b.states[static_cast<size_t>(i)]);
}

TEST_CASE("checkpoint: every number comes back exactly") {
  const TempFolder folder;
  const Network network = small_network();
  const TrainState state = numbered_state(network);
  const CheckpointInfo info = sample_info();
  save((folder / "c").string(), network, state, info);
  const Checkpoint read = read_checkpoint((folder / "c").string());
  EXPECT(read.info.position.epoch == 3);
  EXPECT(read.info.position.batch == 17);
  EXPECT(read.info.position.step == 1070);
  EXPECT(read.info.position.loss_sum == 0.1 + 0.2);
  EXPECT(read.info.position.best_accuracy == 1.0 / 3);
  EXPECT(read.info.position.log_bytes == 12);
  EXPECT(read.info.seed == 42);
  EXPECT(read.info.normalization == info.normalization);
  EXPECT(read.info.class_names == info.class_names);
  EXPECT(read.info.image_border == 2);

  expect_same(network, restore(read, network, true), state);
  // Into arrays that hold something else, without momentum.
  TrainState other = numbered_state(network);
  for (std::vector<real>* values : {&other.params, &other.states, &other.velocity})
    std::fill(values->begin(), values->end(), real{77});
  restore(read, network, TrainSpans<real>{other.params, other.states, {}});
  EXPECT(std::all_of(other.velocity.begin(), other.velocity.end(), [](real v) { return v == 77; }));
  other.velocity = state.velocity;
  expect_same(network, other, state);
}

TEST_CASE(
    "checkpoint: a moving average is what is evaluated, and the weights under it are there to train on") {
  const TempFolder folder;
  const std::string path = (folder / "c").string();
  const Network network = small_network();
  TrainState state = numbered_state(network);
  state.trained.resize(state.params.size());
  std::iota(state.trained.begin(), state.trained.end(), real{3000});
  save(path, network, state, sample_info());
  TrainState back = restore(read_checkpoint(path), network, true);
  expect_same(network, back, state);
  back.trained.resize(state.params.size());
  restore(read_checkpoint(path), network,
          TrainSpans<real>{back.params, back.states, back.velocity, back.trained});
  for (const ParamInfo& p : network.params())
    for (auto i = static_cast<size_t>(p.offset); i < static_cast<size_t>(p.offset + p.elems); ++i)
      EXPECT(back.trained[i] == state.trained[i]);

  state.trained.clear();
  save(path, network, state, sample_info());
  const auto without = [&] {
    restore(read_checkpoint(path), network,
            TrainSpans<real>{back.params, back.states, back.velocity, back.trained});
  };
  DOCTEST_CHECK_THROWS_WITH_AS(without(), doctest::Contains("'trained."), Error);
}

TEST_CASE("checkpoint: weights have torch's names, shapes and order") {
  const TempFolder folder;
  const Network network = small_network();
  const TrainState state = numbered_state(network);
  save((folder / "c").string(), network, state, sample_info());
  const SafeTensorsReader file((folder / "c").string());

  // Convolution of 3 filters, 2 input channels, kernel 2x3: (out, in, h, w), where ours is [h][w][in][out].
  EXPECT(file.tensors().at("conv.weight").shape == std::vector<int64_t>{3, 2, 2, 3});
  const std::vector<double> conv = tensor_values(file, "conv.weight");
  const int64_t at = param(network, "conv.weight").offset;
  const int o = 2, i = 1, h = 1, w = 2;
  EXPECT(conv[((o * 2 + i) * 2 + h) * 3 + w] ==
         static_cast<double>(state.params[static_cast<size_t>(at + ((h * 3 + w) * 2 + i) * 3 + o)]));

  // Linear over a 3x2x3 image (4x4 less a 2x3 kernel): (out, in), in flattened channel, height, width.
  EXPECT(file.tensors().at("fc.weight").shape == std::vector<int64_t>{5, 18});
  const std::vector<double> fc = tensor_values(file, "fc.weight");
  const int64_t fc_at = param(network, "fc.weight").offset;
  const int out = 4, c = 1, y = 2, x = 1;
  EXPECT(fc[static_cast<size_t>(out * 18 + (c * 3 + y) * 2 + x)] ==
         static_cast<double>(state.params[static_cast<size_t>(fc_at + ((y * 2 + x) * 3 + c) * 5 + out)]));

  EXPECT(file.tensors().count("bn.running_mean") == 1);
  EXPECT(file.tensors().count("momentum.bn.weight") == 1);
}

TEST_CASE("checkpoint: a file has the same bytes as ever") {
  if (sizeof(real) != 4) return;  // the digests are of files of floats
  const TempFolder folder;
  const Network network = small_network();
  TrainState state = numbered_state(network);
  const auto digest = [&] {
    save((folder / "c").string(), network, state, sample_info());
    const Bytes bytes = read_whole(folder / "c");
    return fmt::format("{} {:016x}", bytes.size(), fnv1a(std::as_bytes(std::span(bytes))));
  };
  // Of what was written when files were put together in memory.
  EXPECT(digest() == "2464 c524f38fd8178aa5");
  state.velocity.clear();
  EXPECT(digest() == "1540 0942253c6dca34b0");
}

/// 160,000 weights, which are read and written in two pieces, and many more.
Network wide_network(int out) {
  Network network("wide", {4, 4, 2});
  const TensorId x = network.add("fc", fmt::format("linear out={}", out), {network.input()});
  network.add("loss", "softmax_loss", {x});
  return network;
}

TEST_CASE("checkpoint: a tensor of several pieces keeps its order") {
  const TempFolder folder;
  const std::string path = (folder / "c").string();
  const Network network = wide_network(5000);
  const TrainState state = numbered_state(network);
  save(path, network, state, sample_info());
  const std::vector<double> there = tensor_values(SafeTensorsReader(path), "fc.weight");
  REQUIRE(there.size() == 160'000);
  const auto at = static_cast<size_t>(param(network, "fc.weight").offset);
  for (size_t o = 0; o < 5000; ++o)
    for (size_t c = 0; c < 2; ++c)
      for (size_t p = 0; p < 16; ++p)
        REQUIRE(there[(o * 2 + c) * 16 + p] ==
                static_cast<double>(state.params[at + (p * 2 + c) * 5000 + o]));
  const TrainState back = restore(read_checkpoint(path), network, true);
  expect_same(network, back, state);
}

#ifndef __SANITIZE_ADDRESS__  // which keeps what was freed
TEST_CASE("checkpoint: saving and loading take little memory besides the weights") {
  const TempFolder folder;
  const std::string path = (folder / "c").string();
  const Network network = wide_network(500'000);
  TrainState state = numbered_state(network);
  const auto bytes = static_cast<int64_t>(state.params.size() * sizeof(real));
  REQUIRE(bytes >= int64_t{64'000'000});
  // In a child, whose peak is its own.
  ChildProcess child("checkpoint", [&](int answers) {
    const int64_t before = peak_rss_bytes();
    save(path, network, state, sample_info());
    restore(read_checkpoint(path), network, TrainSpans<real>{state.params, state.states, state.velocity});
    send_answer(answers, {{"bytes", peak_rss_bytes() - before}});
  });
  EXPECT(child.answer()["bytes"].get<int64_t>() < bytes / 8);
}
#endif

TEST_CASE("checkpoint: fused or not is the same network, also to files that named what ran") {
  const TempFolder folder;
  const std::string path = (folder / "c").string();
  const Network plain = make_network({.arch = "resnet8", .input = {16, 16, 3}, .classes = 3}),
                fused = fuse_relu(plain);
  REQUIRE(fused.node_count() < plain.node_count());
  save(path, plain, numbered_state(plain), sample_info());
  const TrainState state = restore(read_checkpoint(path), plain, true);
  for (const Network* writer : {&plain, &fused}) {
    save(path, *writer, state, sample_info());
    for (const Network* reader : {&plain, &fused})
      EXPECT(restore(read_checkpoint(path), *reader, true).params == state.params);
  }
  // What a run without fusion wrote when the identity was that of the network as it ran.
  SafeTensorsFile file = read_safetensors(path);
  file.metadata["network"] = "resnet8 for 16x16x3 (049b955b0ed0a38a)";
  write_safetensors(path, file);
  EXPECT(restore(read_checkpoint(path), plain, true).params == state.params);
  EXPECT(has(error_of([&] { restore(read_checkpoint(path), fused, true); }), {"holds the weights of"}));
}

TEST_CASE("checkpoint: another network's weights are refused") {
  const TempFolder folder;
  const Network network = small_network(), other = small_network(4);
  TrainState state = numbered_state(network);
  save((folder / "c").string(), network, state, sample_info());
  const Checkpoint checkpoint = read_checkpoint((folder / "c").string());
  DOCTEST_CHECK_THROWS_WITH_AS(restore(checkpoint, other, true),
                               doctest::Contains("holds the weights of small"), Error);

  state.velocity.clear();
  save((folder / "weights").string(), network, state, sample_info());
  const Checkpoint weights = read_checkpoint((folder / "weights").string());
  EXPECT(restore(weights, network, false).velocity.empty());
  DOCTEST_CHECK_THROWS_WITH_AS(restore(weights, network, true), doctest::Contains("'momentum."), Error);

  SafeTensorsFile foreign;
  write_safetensors((folder / "foreign").string(), foreign);
  DOCTEST_CHECK_THROWS_WITH_AS(read_checkpoint((folder / "foreign").string()),
                               doctest::Contains("not a checkpoint"), Error);
}

TEST_CASE("checkpoint: a disk that fills up leaves the old one whole and nothing else") {
  const TempFolder folder;
  const Network network = small_network();
  const std::string path = (folder / "last.safetensors").string();
  save(path, network, numbered_state(network), sample_info());
  const std::string before = read_text_file(path);

  // In a child, so that the limit ends with it: files may not grow past 500 bytes, and writing more is an
  // error.
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{500, 500};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      CheckpointInfo info = sample_info();
      info.position.epoch = 4;
      save(path, network, numbered_state(network), info);
    } catch (const Error& error) {
      const std::string text = error.what();
      const bool clear = text.find("could not be written") != std::string::npos &&
                         text.find("is untouched") != std::string::npos &&
                         text.find(path) != std::string::npos;
      ::_exit(clear ? 0 : 2);
    }
    ::_exit(3);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT(WIFEXITED(status));
  EXPECT(WEXITSTATUS(status) == 0);
  EXPECT(read_text_file(path) == before);
  EXPECT(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) == 1);
  EXPECT(read_checkpoint(path).info.position.epoch == 3);
}

TEST_CASE("atomic file: what is not committed was never there") {
  const TempFolder folder;
  const std::string path = (folder / "x").string();
  const auto write = [&](const std::string& text, bool commit) {
    AtomicFile file(path, text.size());
    file.append(std::as_bytes(std::span(text)));
    file.overwrite_begin(std::as_bytes(std::span<const char>("A", 1)));
    file.append(std::as_bytes(std::span<const char>("!", 1)));
    if (commit) file.commit();
  };
  write("abc", false);
  EXPECT(fs::is_empty(folder.path()));
  write("abc", true);
  EXPECT(read_text_file(path) == "Abc!");
  write("xyz", false);
  EXPECT(read_text_file(path) == "Abc!");
  EXPECT(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) == 1);
}

TEST_CASE("atomic file: a folder that is not there is an error, not a crash") {
  DOCTEST_CHECK_THROWS_WITH_AS(replace_file("/nonexistent-folder/x", "text"),
                               doctest::Contains("/nonexistent-folder/x"), Error);
}

}  // namespace
}  // namespace mbs
