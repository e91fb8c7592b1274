// The configurations that are compared: an order of the training step on a kind of array.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace mbs {

/// A configuration.
struct Configuration {
  std::string name;   ///< "MBS2"
  std::string order;  ///< as parse_word<Order>() takes it
  bool double_buffering =
      true;  ///< every unit of the array holds its next weight while it uses the current one
};

/// All of them: the six of the paper (Baseline, ArchOpt, IL, MBS-FS, MBS1, MBS2), then ours.
std::span<const Configuration> all_configurations();
/// The six of the paper.
std::span<const Configuration> paper_configurations();

/// Capitals do not matter. Error (usage): not the name of a configuration; lists them.
const Configuration& parse_configuration(const std::string& name);

/// The configurations of a list of names, of which "all" stands for all, in the order of the list.
std::vector<Configuration> parse_configurations(const std::vector<std::string>& names);

}  // namespace mbs
