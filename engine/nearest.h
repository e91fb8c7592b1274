// For messages about an unknown name: which known one was probably meant.
#pragma once

#include <string>
#include <vector>

namespace mbs {

/// The name in `known` with the fewest edits from `word`; empty if none is near.
std::string nearest(const std::string& word, const std::vector<std::string>& known);
/// The same as part of a message: "; the nearest is NAME", or nothing.
std::string nearest_hint(const std::string& word, const std::vector<std::string>& known);

}  // namespace mbs
