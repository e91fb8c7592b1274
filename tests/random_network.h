// Random small networks in which every kind of block meets every other, random groups of their blocks, and
// the dice.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/network.h"
#include "engine/random.h"
#include "engine/schedule.h"
#include "mbs/traffic_terms.h"

namespace mbs::tests {

/// Random values in the order in which they are asked for.
class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed, Stream::test, 2) {}
  int below(int n) { return static_cast<int>(random_.below(i_++, static_cast<uint64_t>(n))); }
  bool one_in(int n) { return below(n) == 0; }

 private:
  Random random_;
  uint64_t i_ = 0;
};

/// A network of plain layers, residual and inception modules, of random widths and sizes.
class RandomNetwork {
 public:
  explicit RandomNetwork(uint64_t seed)
      : dice_(seed),
        net_(fmt::format("random {}", seed), {6 + dice_.below(9), 6 + dice_.below(9), 1 + dice_.below(4)}) {}

  /// May be called once.
  Network build() {
    TensorId x = conv(net_.input(), channels(), 3, 1);
    for (int blocks = 2 + dice_.below(6); blocks > 0; --blocks) {
      const int kind = dice_.below(5);
      if (kind < 2)
        x = residual(x);
      else if (kind == 2)
        x = inception(x);
      else
        x = plain(x);
    }
    if (dice_.one_in(2)) x = add("global_avg_pool", {x});
    if (dice_.one_in(3)) x = add("dropout rate=0.25", {x});
    add("softmax_loss", {add("linear out=5", {x})});
    return std::move(net_);
  }

 private:
  TensorId add(const std::string& spec, const std::vector<TensorId>& in) {
    const std::string name = fmt::format("{}{}", spec.substr(0, spec.find(' ')), net_.node_count());
    return net_.add(name, spec, std::span<const TensorId>(in));
  }
  int channels() { return 1 + dice_.below(12); }
  bool small(TensorId x) const { return std::min(net_.tensor(x).shape.h, net_.tensor(x).shape.w) < 4; }
  int stride(TensorId x) { return small(x) ? 1 : 1 + dice_.below(2); }

  TensorId conv(TensorId x, int out, int kernel, int stride) {
    return add(fmt::format("conv2d out={} kernel={} stride={} pad={}", out, kernel, stride, kernel / 2), {x});
  }
  TensorId norm(TensorId x) {
    const int c = net_.tensor(x).shape.c;
    int groups = 1 + dice_.below(c);
    while (c % groups != 0) --groups;
    return add(fmt::format("group_norm groups={}", groups), {x});
  }
  TensorId pool(TensorId x, int kernel, int stride) {
    const char* kind = dice_.one_in(2) ? "max_pool" : "avg_pool";
    return add(fmt::format("{} kernel={} stride={} pad={}", kind, kernel, stride, kernel / 2), {x});
  }
  // Convolution, perhaps norm, perhaps ReLU.
  TensorId unit(TensorId x, int out, int stride) {
    x = conv(x, out, 1 + 2 * dice_.below(2), stride);
    if (!dice_.one_in(3)) x = norm(x);
    return dice_.one_in(3) ? x : add("relu", {x});
  }

  TensorId plain(TensorId x) {
    switch (dice_.below(4)) {
      case 0:
        return norm(x);
      case 1:
        return add("relu", {x});
      case 2:
        return small(x) ? x : pool(x, 3, 2);
      default:
        return conv(x, channels(), 1 + 2 * dice_.below(2), stride(x));
    }
  }

  TensorId residual(TensorId x) {
    net_.begin_block(fmt::format("residual{}", net_.node_count()), Block::Kind::residual);
    const int producer = net_.tensor(x).producer;
    const bool concatenated = net_.node(producer).layer->concatenates();
    const bool identity = !concatenated && dice_.one_in(2);
    const int out = identity ? net_.tensor(x).shape.c : channels(), step = identity ? 1 : stride(x);
    // One layer alone cannot share the gradient of the sum with the shortcut.
    TensorId main = dice_.one_in(3) ? conv(x, out, 3, step) : unit(unit(x, out, step), out, 1);
    TensorId shortcut = x;
    if (!identity) {
      net_.next_branch();
      shortcut = conv(x, out, 1, step);
      if (dice_.one_in(2)) shortcut = norm(shortcut);
    }
    net_.join();
    TensorId sum = add("add", {main, shortcut});
    if (!dice_.one_in(3)) sum = add("relu", {sum});
    net_.end_block();
    return sum;
  }

  TensorId inception(TensorId x) {
    net_.begin_block(fmt::format("inception{}", net_.node_count()), Block::Kind::inception);
    std::vector<TensorId> parts;
    for (int branches = 2 + dice_.below(3); branches > 0; --branches) {
      if (!parts.empty()) net_.next_branch();
      TensorId part = dice_.one_in(4) ? pool(x, 3, 1) : unit(x, channels(), 1);
      for (int more = dice_.below(3); more > 0; --more) part = unit(part, channels(), 1);
      parts.push_back(part);
    }
    net_.join();
    x = add("concat", parts);
    if (dice_.one_in(3)) x = add("relu", {x});
    net_.end_block();
    return x;
  }

  Dice dice_;
  Network net_;
};

inline Network random_network(uint64_t seed) { return RandomNetwork(seed).build(); }

/// Adds to Schedule::kept what nodes from `first` on read of earlier ones.
inline void keep_what_crosses(const Network& net, NodeId first, Schedule& schedule) {
  for (NodeId n = 0; n < first; ++n) {
    const TensorId t = net.node(n).out;
    const bool crosses = net.tensor(t).uses.back().node >= first;
    if (crosses && std::find(schedule.kept.begin(), schedule.kept.end(), t) == schedule.kept.end())
      schedule.kept.push_back(t);
  }
}

/// A schedule of groups that keep and make again what they like. They begin at random blocks, of those where
/// a pass that makes values again may begin; there too some values are stored that could be made again.
inline Schedule random_groups(const Network& net, int batch, uint64_t seed) {
  Dice dice(seed);
  Schedule s{"random groups", batch, {}, {}};
  std::vector<Recompute> recompute;  // by group
  for (const Block& block : net.blocks()) {
    const bool can_begin = block.first > 0 && can_begin_recomputing(net, block.first);
    if (can_begin && dice.one_in(4)) keep_what_crosses(net, block.first, s);
    if (block.first == 0 || (can_begin && dice.one_in(3))) {
      recompute.push_back(static_cast<Recompute>(dice.below(4)));
      const bool makes_again = recompute.back() != Recompute::nothing;
      const Reuse reuse = makes_again ? Reuse::group : static_cast<Reuse>(dice.below(3));
      s.passes.push_back({Phase::forward, block.first, block.last, 1 + dice.below(batch), reuse});
    }
    s.passes.back().last = block.last;
  }
  for (size_t group = recompute.size(); group-- > 0;) {
    Pass pass = s.passes[group];
    pass.phase = Phase::backward;
    pass.sub_batch = 1 + dice.below(batch);
    pass.recompute = recompute[group];
    if (pass.recompute != Recompute::nothing && dice.one_in(2)) pass.reuse = Reuse::hold;
    s.passes.push_back(pass);
  }
  return s;
}

}  // namespace mbs::tests
