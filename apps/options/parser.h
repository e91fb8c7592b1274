// Command lines: what a sub-command may be told, and reading it. CLI11 does the work, behind parser.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "apps/options/options.h"

namespace mbs {

/// An option as help and shell completion show it.
struct OptionText {
  std::vector<std::string> flags;    ///< "--arch", "-a"; empty: a word without a flag
  std::string help;                  ///< without the choices
  std::vector<std::string> choices;  ///< empty: anything
};

/// The options of one command. Declaring one binds it to a field, which must outlive the parser; its value at
/// that moment is the default that help shows.
class Parser {
 public:
  /// `command` as it stands on the command line ("bench step"); `examples` are lines below the options.
  Parser(const std::string& command, const std::string& description, const std::string& examples);
  Parser(Parser&&) noexcept;
  ~Parser();

  void operator()(const OptionInfo& info, bool& field);
  void operator()(const OptionInfo& info, int& field);
  void operator()(const OptionInfo& info, int64_t& field);
  void operator()(const OptionInfo& info, double& field);
  void operator()(const OptionInfo& info, std::string& field);
  /// Lists: values separated by commas, or all words that are left where the option is required.
  void operator()(const OptionInfo& info, std::vector<int>& field);
  void operator()(const OptionInfo& info, std::vector<std::string>& field);

  /// Reads the words after the command into the fields. False: help was asked for, nothing was read. Error
  /// (usage): what is wrong, and the nearest option where one is unknown.
  bool parse(const std::vector<std::string>& arguments);

  /// Whether the command line had this option, by any of its names.
  bool given(const std::string& flag) const;
  std::string help() const;
  std::vector<OptionText> options() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> impl_;
};

}  // namespace mbs
