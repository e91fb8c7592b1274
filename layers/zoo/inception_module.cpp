// Units and modules of the Inception networks.
#include <map>

#include "engine/check.h"
#include "layers/zoo/builders.h"

namespace mbs {

TensorId add_unit(Network& network, const NetworkOptions& options, const UnitSpec& unit, TensorId x) {
  if (!unit.spec.starts_with("out=")) return network.add(unit.name, unit.spec, {x});
  constexpr double kPublishedEps = 0.001;
  x = add_conv_norm(network, options, unit.name + ".conv", unit.name + ".bn", "conv2d " + unit.spec, x,
                    kPublishedEps);
  return network.add(unit.name + ".relu", "relu", {x});
}

TensorId add_module(Network& network, const NetworkOptions& options, const std::string& name, TensorId x,
                    const std::vector<BranchSpec>& branches) {
  network.begin_block(name, Block::Kind::inception);
  std::map<std::string, TensorId> made = {{"", x}};
  std::vector<TensorId> ends;
  for (const BranchSpec& branch : branches) {
    if (!ends.empty()) network.next_branch();
    CHECK(made.contains(branch.from), "module '{}': a branch reads '{}', which is not there", name,
          branch.from);
    TensorId end = made.at(branch.from);
    for (const UnitSpec& unit : branch.units) {
      end = add_unit(network, options, {name + "." + unit.name, unit.spec}, end);
      made[unit.name] = end;
    }
    ends.push_back(end);
  }
  network.join();
  x = network.add(name + ".concat", "concat", ends);
  network.end_block();
  return x;
}

}  // namespace mbs
