#include "apps/commands/command.h"

#include <fmt/core.h>

#include <algorithm>

#include "engine/check.h"
#include "engine/words.h"
#include "layers/zoo/zoo.h"

namespace mbs {

#define X(name) extern const CommandEntry kCommand_##name;
#include "apps/commands/list.inc"
#undef X

namespace {

constexpr const char* kVersion = "1.0.0";

std::string lines_of(std::span<const CommandEntry* const> entries) {
  std::string text;
  for (const CommandEntry* entry : entries)
    text += fmt::format("  {:<15}{}\n", entry->name(), entry->summary);
  return text;
}

std::string overview() {
  return fmt::format(
      "mbs trains convolutional networks on the CPU in mini-batch-serialized order.\n\n"
      "usage: mbs COMMAND [options]\n\n{}\n"
      "examples:\n"
      "  mbs demo\n"
      "  mbs train --dataset fashion-mnist --arch resnet20 --order mbs2 --epochs 10\n"
      "  mbs plan resnet50 --order mbs2 --batch-size 32 --buffer 10MiB\n\n"
      "`mbs COMMAND --help` shows the options of a command, `mbs --version` the version.\n",
      lines_of(command_registry()));
}

bool is_help(const std::string& word) { return word == "--help" || word == "-h" || word == "help"; }

/// The commands whose name begins with this word.
std::vector<const CommandEntry*> group_of(const std::string& word) {
  std::vector<const CommandEntry*> group;
  for (const CommandEntry* entry : command_registry())
    if (entry->name().starts_with(word + " ")) group.push_back(entry);
  return group;
}

/// Help and the like.
class PrintText final : public Command {
 public:
  explicit PrintText(std::string text) : text_(std::move(text)) {}

 private:
  void declare(Parser&) override {}
  int run() override {
    fmt::print("{}", text_);
    return 0;
  }

  std::string text_;
};

std::unique_ptr<Command> parse_entry(const CommandEntry& entry, const std::vector<std::string>& arguments) {
  std::unique_ptr<Command> command = entry.make();
  Parser parser = make_parser(entry, *command);
  if (!parser.parse(arguments)) return std::make_unique<PrintText>(parser.help());
  command->settle(parser);
  return command;
}

/// `mbs bench ...`, where the second word says which command of the group.
std::unique_ptr<Command> parse_group(const std::vector<const CommandEntry*>& group,
                                     const std::vector<std::string>& arguments) {
  const std::string& first = arguments[0];
  if (arguments.size() == 1 || is_help(arguments[1]))
    return std::make_unique<PrintText>(
        fmt::format("usage: mbs {0} WHAT [options]\n\n{1}\n`mbs {0} WHAT --help` shows the options.\n", first,
                    lines_of(group)));
  std::vector<std::string> names;
  for (const CommandEntry* entry : group) {
    names.push_back(entry->name().substr(first.size() + 1));
    if (names.back() == arguments[1]) return parse_entry(*entry, {arguments.begin() + 2, arguments.end()});
  }
  fail_usage("mbs {0} does not know '{1}'{2}; `mbs {0}` alone lists what it can", first, arguments[1],
             nearest_hint(arguments[1], names));
}

}  // namespace

std::string CommandEntry::name() const {
  std::string words = id;
  std::replace(words.begin(), words.end(), '_', ' ');
  return words;
}

std::span<const CommandEntry* const> command_registry() {
  static const CommandEntry* const entries[] = {
#define X(name) &kCommand_##name,
#include "apps/commands/list.inc"
#undef X
  };
  return entries;
}

Parser make_parser(const CommandEntry& entry, Command& command) {
  std::string ending = fmt::format("examples:\n{}", entry.examples);
  if (entry.names_networks) {
    ending += "\nnetworks:\n";
    for (const ArchInfo& info : architectures())
      ending += fmt::format("  {:<12} {}\n", info.name, info.summary);
  }
  Parser parser(entry.name(), entry.description, ending);
  command.declare(parser);
  return parser;
}

std::unique_ptr<Command> parse_command_line(const std::vector<std::string>& arguments) {
  if (arguments.empty() || is_help(arguments[0])) return std::make_unique<PrintText>(overview());
  if (arguments[0] == "--version") return std::make_unique<PrintText>(fmt::format("mbs {}\n", kVersion));
  std::vector<std::string> first_words;
  for (const CommandEntry* entry : command_registry()) {
    const std::string name = entry->name();
    if (name == arguments[0]) return parse_entry(*entry, {arguments.begin() + 1, arguments.end()});
    first_words.push_back(name.substr(0, name.find(' ')));
  }
  if (const auto group = group_of(arguments[0]); !group.empty()) return parse_group(group, arguments);
  fail_usage("there is no command '{}'{}; `mbs` alone lists them", arguments[0],
             nearest_hint(arguments[0], first_words));
}

}  // namespace mbs
