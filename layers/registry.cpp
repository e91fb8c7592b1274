#include "layers/registry.h"

#include <sstream>

#include "engine/check.h"
#include "engine/network.h"

namespace mbs {

#define X(name) extern const LayerEntry kLayer_##name;
#include "layers/list.inc"
#undef X

std::span<const LayerEntry* const> layer_registry() {
  static const LayerEntry* const entries[] = {
#define X(name) &kLayer_##name,
#include "layers/list.inc"
#undef X
  };
  return entries;
}

std::shared_ptr<const Layer> make_layer(std::string_view text, std::span<const Shape> in) {
  const Spec spec = Spec::parse(text);
  std::string names;
  for (const LayerEntry* entry : layer_registry()) {
    if (entry->name == spec.layer()) {
      std::shared_ptr<const Layer> layer = entry->make(spec, in);
      spec.finish();
      return layer;
    }
    names += (names.empty() ? "" : ", ") + entry->name;
  }
  fail_usage("unknown layer '{}' in '{}'; there are {}", spec.layer(), text, names);
}

LayerExample parse_example(const LayerEntry& entry, const std::string& example) {
  const size_t bar = example.find('|');
  CHECK(bar != std::string::npos, "example '{}' of {} has no bar", example, entry.name);
  LayerExample parsed{entry.name + " " + example.substr(0, bar), {}};
  std::istringstream words(example.substr(bar + 1));
  for (std::string word; words >> word;) {
    Shape s;
    char x1 = 0, x2 = 0;
    std::istringstream(word) >> s.h >> x1 >> s.w >> x2 >> s.c;
    CHECK(x1 == 'x' && x2 == 'x', "example '{}' of {}: shape '{}'", example, entry.name, word);
    parsed.shapes.push_back(s);
  }
  return parsed;
}

}  // namespace mbs
