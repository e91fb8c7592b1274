// Config files and recipes: both are lists of settings that explicit flags override.
#pragma once

#include <string>
#include <vector>

#include "apps/options/options.h"
#include "apps/options/parser.h"

namespace mbs {

/// One option as text: a key as after `--` on the command line, a value as after it (lists joined by commas).
struct Setting {
  std::string key, value;
  std::string where;  ///< to print in errors: "runs/a/config.toml:3"
};
using Settings = std::vector<Setting>;

/// Sets fields by name. Error (usage): an unknown key (names the nearest), or a value that cannot be read or
/// is out of range; the message names its place.
void apply_settings(const Settings& settings, TrainOptions& options);

/// The same, but for options that the command line was given: flags override config files and recipes.
void apply_below_flags(const Parser& flags, Settings settings, TrainOptions& options);

/// Every option with its value.
Settings settings_of(const TrainOptions& options);

/// As a TOML file, one `key = value` a line, with `comment` on top.
std::string to_toml(const TrainOptions&, const std::string& comment);

/// Reads a TOML file whose values are texts, numbers, true, false and lists of those, in the order of its
/// lines; `_` in a key stands for `-`. Error (usage): anything else, or a key given twice; the message names
/// `path` and the line.
Settings parse_toml(const std::string& text, const std::string& path);

/// The text of a file. Error: it cannot be read.
std::string read_text_file(const std::string& path);

/// A named preset. Error (usage): an unknown name; the message lists the known ones.
/// he2016: He et al. 2015, section 4.2, on CIFAR; fast: 30 epochs, one cycle; demo: resnet8, 10,000 images, 3
/// epochs.
Settings recipe(const std::string& name);

}  // namespace mbs
