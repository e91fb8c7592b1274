// Small networks with every kind of hand-over, and counting of a dry run, for the tests of mbs/ and
// wavecore/.
#pragma once

#include <string>
#include <vector>

#include "apps/training/experiment.h"
#include "engine/check.h"
#include "engine/program.h"
#include "layers/zoo/zoo.h"
#include "mbs/planner.h"
#include "wavecore/accountant.h"

namespace mbs::tests {

/// A network of the zoo in the size it was published for.
inline Network zoo_network(const std::string& arch, Shortcut shortcut = Shortcut::standard,
                           Norm norm = Norm::group) {
  NetworkOptions options;
  options.arch = arch;
  options.shortcut = shortcut;
  options.norm = norm;
  for (const ArchInfo& info : architectures())
    if (info.name == arch) options.input = info.input;
  return make_network(options);
}

/// conv, then a module whose three branches are concatenated (the second of two layers, the last a pool),
/// then a head.
inline Network inception_like() {
  Network n("inception-like", {9, 7, 3});
  const TensorId x = n.add("stem.relu", "relu", {n.add("stem", "conv2d out=6 kernel=3", {n.input()})});
  n.begin_block("mixed", Block::Kind::inception);
  const TensorId a = n.add("a.relu", "relu", {n.add("a", "conv2d out=4 kernel=1", {x})});
  n.next_branch();
  const TensorId b1 = n.add("b1.relu", "relu", {n.add("b1", "conv2d out=3 kernel=1", {x})});
  const TensorId b2 =
      n.add("b2.norm", "group_norm groups=5", {n.add("b2", "conv2d out=5 kernel=1x3 pad=0x1", {b1})});
  const TensorId b = n.add("b2.relu", "relu", {b2});
  n.next_branch();
  const TensorId c = n.add("c", "max_pool kernel=3 stride=1 pad=1", {x});
  n.join();
  const TensorId joined = n.add("concat", "concat", {a, b, c});
  n.end_block();
  const TensorId pooled = n.add("pool", "avg_pool kernel=3 stride=2", {joined});
  n.add("loss", "softmax_loss", {n.add("fc", "linear out=5", {pooled})});
  return n;
}

/// Sums that share what they add: an operand with a later consumer, two operands with consumers of their own
/// (so that gradients cannot be passed on), a sum of sums, a tensor added to itself, and a dense connection.
inline Network entangled() {
  Network n("entangled", {5, 3, 4});
  const TensorId x = n.add("c0", "conv2d out=6 kernel=1", {n.input()});
  const TensorId a = n.add("c1", "conv2d out=6 kernel=3 pad=1", {x});
  const TensorId s1 = n.add("s1", "add", {a, x});
  const TensorId b = n.add("c2", "conv2d out=6 kernel=1", {s1});
  const TensorId s2 = n.add("s2", "add", {b, s1, a});
  const TensorId twice = n.add("twice", "add", {s2, s2});
  const TensorId r = n.add("r", "relu", {twice});
  const TensorId s3 = n.add("s3", "add", {n.add("c3", "conv2d out=6 kernel=1", {r}), r});
  const TensorId dense = n.add("dense", "concat", {s3, r});
  const TensorId d = n.add("c4", "conv2d out=7 kernel=2", {dense});
  const TensorId e = n.add("drop", "dropout rate=0.5", {d});
  n.add("loss", "softmax_loss", {n.add("fc", "linear out=3", {e})});
  return n;
}

/// What the accountant counts in a dry run of the schedule.
inline Traffic counted_traffic(const Network& network, const Schedule& schedule, const TrafficRules& rules) {
  Accountant accountant(counting_rules(rules)), folded(counting_rules(rules));
  dry_run(network, schedule, schedule.batch, accountant);
  folded_dry_run(network, schedule, schedule.batch, folded);
  CHECK(accountant.traffic() == folded.traffic(), "{}: the folded dry run counts otherwise", network.name());
  return accountant.traffic();
}

}  // namespace mbs::tests
