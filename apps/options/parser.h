// What the files of the command line share; the only ones that include CLI11.
#pragma once

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "apps/commands/cli.h"
#include "engine/check.h"
#include "engine/words.h"
#include "layers/zoo/zoo.h"

namespace mbs {

/// CLI11 with its errors turned into ours.
class Parser {
 public:
  Parser(const std::string& name, const std::string& what, const std::string& examples)
      : app_(what, "mbs " + name), name_(name) {
    app_.footer("examples:\n" + examples);
    app_.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }

  /// Adds an option; calls go through the list of apps/options/options.h.
  template <class Field>
  void operator()(const OptionInfo& info, Field& field) {
    const std::string choices = info.choices;
    const std::string help = choices.empty() ? info.help : fmt::format("{} ({})", info.help, choices);
    if constexpr (std::is_same_v<Field, bool>) {
      const bool has_off = std::string(info.names).find('!') != std::string::npos;
      app_.add_flag(info.names, field,
                    has_off ? fmt::format("{} (default: {})", help, field ? "on" : "off") : help);
    } else {
      CLI::Option* option = app_.add_option(info.names, field, help)->capture_default_str();
      if constexpr (std::is_same_v<Field, std::vector<int>> ||
                    std::is_same_v<Field, std::vector<std::string>>)
        option->delimiter(',')
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
            ->expected(1)
            ->allow_extra_args(false);
    }
    if constexpr (std::is_arithmetic_v<Field> && !std::is_same_v<Field, bool>)
      checks_.push_back([info, &field] { check_value(info, static_cast<double>(field)); });
    if constexpr (std::is_same_v<Field, std::string>)
      checks_.push_back([info, &field] { check_value(info, field); });
  }

  CLI::App& app() { return app_; }

  /// Parses; true: help was asked for, and help() is to be printed.
  bool parse(std::vector<std::string> arguments) {
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    try {
      app_.parse(arguments);
    } catch (const CLI::CallForHelp&) {
      return true;
    } catch (const CLI::ExtrasError&) {
      unknown(app_.remaining());
    } catch (const CLI::ParseError& error) {
      fail_usage("{}; `mbs {} --help` shows the options", error.what(), name_);
    }
    for (const auto& check : checks_) check();
    return false;
  }

  HelpText help() const { return {app_.help()}; }

 private:
  [[noreturn]] void unknown(const std::vector<std::string>& words) const {
    for (const std::string& word : words) {
      if (!word.starts_with("-")) continue;
      std::vector<std::string> known;
      for (const CLI::Option* option : app_.get_options())
        for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
      const std::string flag = word.substr(0, word.find('='));
      fail_usage("mbs {} has no option {}{}; `mbs {} --help` shows all", name_, flag,
                 nearest_hint(flag, known), name_);
    }
    fail_usage("mbs {} does not know what to do with '{}'; `mbs {} --help` shows the options", name_,
               words.empty() ? "" : words.front(), name_);
  }

  CLI::App app_;
  std::string name_;
  std::vector<std::function<void()>> checks_;
};

/// The networks, one a line, for the end of a help text.
inline std::string network_list() {
  std::string networks = "\nnetworks:\n";
  for (const ArchInfo& info : architectures())
    networks += fmt::format("  {:<12} {}\n", info.name, info.summary);
  return networks;
}

// The commands about the modelled accelerator (apps/commands/cli_model.cpp).
Command parse_simulate(const std::vector<std::string>& arguments);
Command parse_paper(const std::vector<std::string>& arguments);
Command parse_gemm(const std::vector<std::string>& arguments);
// The commands that measure (apps/commands/cli_bench.cpp).
Command parse_bench(const std::vector<std::string>& arguments);

}  // namespace mbs
