// `mbs completion`: scripts that let a shell complete commands, options and their values.
#include <fmt/format.h>

#include <algorithm>

#include "apps/commands/command.h"
#include "engine/check.h"
#include "engine/words.h"

namespace mbs {
namespace {

/// A command as the scripts need it.
struct Completed {
  std::string name, summary;
  std::vector<OptionText> options;
};

std::vector<Completed> all_commands() {
  std::vector<Completed> all;
  for (const CommandEntry* entry : command_registry()) {
    const std::unique_ptr<Command> command = entry->make();
    all.push_back({entry->name(), entry->summary, make_parser(*entry, *command).options()});
  }
  return all;
}

std::string first_word(const std::string& name) { return name.substr(0, name.find(' ')); }
std::string second_word(const std::string& name) {
  const size_t blank = name.find(' ');
  return blank == std::string::npos ? "" : name.substr(blank + 1);
}

/// Every first word once, blanks between.
std::string first_words(const std::vector<Completed>& all) {
  std::string words;
  for (const Completed& command : all)
    if (const std::string word = first_word(command.name); !(words + " ").ends_with(" " + word + " "))
      words += (words.empty() ? "" : " ") + word;
  return words;
}

std::string flags_of(const Completed& command) {
  std::string words = "--help";
  for (const OptionText& option : command.options)
    for (const std::string& flag : option.flags) words += " " + flag;
  return words;
}

std::string joined_by(const std::vector<std::string>& words, const std::string& between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : between) + word;
  return out;
}

/// The body of a shell function that fills `words` from `command` (one or two words) and `previous`.
std::string cases(const std::vector<Completed>& all) {
  std::string text = "  case \"$command $previous\" in\n";
  for (const Completed& command : all)
    for (const OptionText& option : command.options) {
      if (option.choices.empty() || option.flags.empty()) continue;
      std::vector<std::string> patterns;
      for (const std::string& flag : option.flags)
        patterns.push_back(fmt::format("'{} {}'", command.name, flag));
      text += fmt::format("    {}) words='{}'; return ;;\n", joined_by(patterns, "|"),
                          joined_by(option.choices, " "));
    }
  text += "  esac\n  case \"$command\" in\n";
  std::string group;
  for (const Completed& command : all)
    if (const std::string what = second_word(command.name); !what.empty()) group += " " + what;
  for (const Completed& command : all)
    text += fmt::format("    '{}') words='{}' ;;\n", command.name, flags_of(command));
  text += fmt::format("    'bench'|'bench '*) words='{} --help' ;;\n", group.empty() ? "" : group.substr(1));
  return text + "  esac\n";
}

/// `command` is the first word after mbs, and the second where the first is a group.
constexpr const char* kCommandOf = R"(  command=$1
  if [ "$1" = bench ] && [ -n "$2" ]; then command="$1 $2"; fi
)";

std::string bash(const std::vector<Completed>& all) {
  return fmt::format(R"(# bash: source <(mbs completion bash), or write it to /etc/bash_completion.d/mbs
_mbs_words() {{ # first word, second word, word before the cursor
  local command previous=$3
{}{}}}
_mbs() {{
  local words= current=${{COMP_WORDS[COMP_CWORD]}}
  if ((COMP_CWORD == 1)); then
    words='{} --help --version'
  else
    local second=
    ((COMP_CWORD > 2)) && second=${{COMP_WORDS[2]}}
    _mbs_words "${{COMP_WORDS[1]}}" "$second" "${{COMP_WORDS[COMP_CWORD - 1]}}"
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -o default -F _mbs mbs
)",
                     kCommandOf, cases(all), first_words(all));
}

std::string zsh(const std::vector<Completed>& all) {
  return fmt::format(R"(#compdef mbs
# zsh: source <(mbs completion zsh), or write it to a file _mbs in a folder of $fpath
_mbs_words() {{ # first word, second word, word before the cursor
  local command previous=$3
{}{}}}
_mbs() {{
  local words=
  if ((CURRENT == 2)); then
    words='{} --help --version'
  else
    local second=
    ((CURRENT > 3)) && second=${{words_on_line[3]}}
    _mbs_words "$words_on_line[2]" "$second" "$words_on_line[CURRENT-1]"
  fi
  compadd -- ${{=words}}
  _files
}}
_mbs_start() {{
  local -a words_on_line=("${{words[@]}}")
  _mbs
}}
compdef _mbs_start mbs
)",
                     kCommandOf, cases(all), first_words(all));
}

/// An argument in single quotes, for fish.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string fish(const std::vector<Completed>& all) {
  std::string text =
      "# fish: mbs completion fish | source, or write it to ~/.config/fish/completions/mbs.fish\n";
  for (const Completed& command : all) {
    const std::string first = first_word(command.name), second = second_word(command.name);
    std::string condition = "__fish_seen_subcommand_from " + first;
    if (second.empty()) {
      text += fmt::format("complete -c mbs -n __fish_use_subcommand -a {} -d {}\n", first,
                          quoted(command.summary));
    } else {
      text += fmt::format("complete -c mbs -n __fish_use_subcommand -a {}\n", first);
      text +=
          fmt::format("complete -c mbs -n '{}' -a {} -d {}\n", condition, second, quoted(command.summary));
      condition += "; and __fish_seen_subcommand_from " + second;
    }
    for (const OptionText& option : command.options) {
      if (option.flags.empty()) continue;
      text += fmt::format("complete -c mbs -n '{}'", condition);
      for (const std::string& flag : option.flags)
        text += flag.starts_with("--") ? " -l " + flag.substr(2) : " -s " + flag.substr(1);
      if (!option.choices.empty()) text += fmt::format(" -x -a {}", quoted(joined_by(option.choices, " ")));
      text += fmt::format(" -d {}\n", quoted(option.help));
    }
  }
  return text;
}

class Completion final : public Command {
  std::string shell_;

  void declare(Parser& parser) override {
    parser({.names = "shell", .help = "whose script", .choices = "bash|zsh|fish", .required = true}, shell_);
  }

  int run() override {
    const std::vector<Completed> all = all_commands();
    fmt::print("{}", shell_ == "bash" ? bash(all) : shell_ == "zsh" ? zsh(all) : fish(all));
    return 0;
  }
};

}  // namespace

COMMAND(completion, Completion, "a script with which bash, zsh or fish completes commands and options",
        "Prints a script with which a shell completes commands, options and their values.",
        "  source <(mbs completion bash)\n  mbs completion fish > ~/.config/fish/completions/mbs.fish\n")

}  // namespace mbs
