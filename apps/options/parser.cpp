#include "apps/options/parser.h"

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <functional>

#include "engine/check.h"
#include "engine/words.h"

namespace mbs {
namespace {

std::vector<std::string> choices_of(const OptionInfo& info) {
  std::vector<std::string> choices;
  const std::string all = info.choices;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = std::min(all.find('|', begin), all.size());
    choices.push_back(all.substr(begin, end - begin));
    begin = end + 1;
  }
  return choices;
}

template <class Field>
bool is_empty_list(const Field&) {
  return false;
}
template <class Element>
bool is_empty_list(const std::vector<Element>& list) {
  return list.empty();
}

}  // namespace

struct Parser::Implementation {
  CLI::App app;
  std::string command;
  std::vector<std::function<void()>> checks;
  std::vector<OptionText> texts;

  /// What all kinds of options have in common. `help` is as CLI11 shows it.
  template <class Field>
  CLI::Option* add(const OptionInfo& info, Field& field) {
    const std::string help =
        *info.choices == '\0' ? info.help : fmt::format("{} ({})", info.help, info.choices);
    CLI::Option* option = app.add_option(info.names, field, help);
    if (info.required)
      option->required();
    else if (!is_empty_list(field))
      option->capture_default_str();
    if (info.bare != nullptr) option->expected(0, 1)->default_str(info.bare);
    note(info, option);
    return option;
  }

  template <class Number>
  void add_number(const OptionInfo& info, Number& field) {
    add(info, field);
    checks.push_back([info, &field] { check_value(info, static_cast<double>(field)); });
  }

  template <class Element>
  void add_list(const OptionInfo& info, std::vector<Element>& field) {
    CLI::Option* option = add(info, field);
    if (info.required) return;  // words, as many as there are: file names may hold commas
    option->delimiter(',');
    if (option->get_positional()) return;
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)->expected(1)->allow_extra_args(false);
  }

  void note(const OptionInfo& info, const CLI::Option* option) {
    OptionText text{{}, info.help, choices_of(info)};
    for (const std::string& name : option->get_lnames()) text.flags.push_back("--" + name);
    for (const std::string& name : option->get_snames()) text.flags.push_back("-" + name);
    texts.push_back(text);
  }

  [[noreturn]] void unknown(const std::vector<std::string>& words) const {
    for (const std::string& word : words) {
      if (!word.starts_with("-")) continue;
      std::vector<std::string> known;
      for (const OptionText& text : texts) known.insert(known.end(), text.flags.begin(), text.flags.end());
      const std::string flag = word.substr(0, word.find('='));
      fail_usage("mbs {0} has no option {1}{2}; `mbs {0} --help` shows all", command, flag,
                 nearest_hint(flag, known));
    }
    fail_usage("mbs {0} does not know what to do with '{1}'; `mbs {0} --help` shows the options", command,
               words.empty() ? "" : words.front());
  }
};

Parser::Parser(const std::string& command, const std::string& description, const std::string& examples)
    : impl_(new Implementation{CLI::App(description, "mbs " + command), command, {}, {}}) {
  impl_->app.footer(examples);
  impl_->app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

Parser::Parser(Parser&&) noexcept = default;
Parser::~Parser() = default;

void Parser::operator()(const OptionInfo& info, bool& field) {
  const bool has_off = std::string(info.names).find('!') != std::string::npos;
  impl_->note(info,
              impl_->app.add_flag(
                  info.names, field,
                  has_off ? fmt::format("{} (default: {})", info.help, field ? "on" : "off") : info.help));
}
void Parser::operator()(const OptionInfo& info, int& field) { impl_->add_number(info, field); }
void Parser::operator()(const OptionInfo& info, int64_t& field) { impl_->add_number(info, field); }
void Parser::operator()(const OptionInfo& info, double& field) { impl_->add_number(info, field); }
void Parser::operator()(const OptionInfo& info, std::string& field) {
  impl_->add(info, field);
  impl_->checks.push_back([info, &field] { check_value(info, field); });
}
void Parser::operator()(const OptionInfo& info, std::vector<int>& field) { impl_->add_list(info, field); }
void Parser::operator()(const OptionInfo& info, std::vector<std::string>& field) {
  impl_->add_list(info, field);
}

bool Parser::parse(const std::vector<std::string>& arguments) {
  CLI::App& app = impl_->app;
  try {
    app.parse(
        std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // CLI11 takes them from the back
  } catch (const CLI::CallForHelp&) {
    return false;
  } catch (const CLI::ExtrasError&) {
    impl_->unknown(app.remaining());
  } catch (const CLI::ParseError& error) {
    fail_usage("{}; `mbs {} --help` shows the options", error.what(), impl_->command);
  }
  for (const auto& check : impl_->checks) check();
  return true;
}

bool Parser::given(const std::string& flag) const { return impl_->app.count(flag) > 0; }
std::string Parser::help() const { return impl_->app.help(); }
std::vector<OptionText> Parser::options() const { return impl_->texts; }

}  // namespace mbs
