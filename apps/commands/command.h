// The sub-commands of mbs. One file each, apps/commands/NAME_command.cpp, and one line in
// apps/commands/list.inc: the overview, the dispatcher and shell completion follow from that list
// (docs/adding-a-command.md).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "apps/options/parser.h"

namespace mbs {

/// What a command was told, and doing it.
class Command {
 public:
  virtual ~Command() = default;

  /// Binds the options to the fields of this object, whose values are the defaults.
  virtual void declare(Parser& parser) = 0;
  /// After parsing, before run(): defaults that depend on other options, and what does not go together. Error
  /// (usage): the latter.
  virtual void settle(const Parser&) {}
  /// Does the work and returns the exit code: 0 done, 1 failed, 3 target missed, 130 interrupted.
  virtual int run() = 0;
};

/// A command of the list.
struct CommandEntry {
  const char* id;           ///< "bench_step"
  const char* summary;      ///< a line of the overview
  const char* description;  ///< what help says above the options
  const char* examples;     ///< command lines, each with its newline
  bool names_networks;      ///< help lists the networks
  std::unique_ptr<Command> (*make)();

  /// As it stands on the command line: "bench step".
  std::string name() const;
};

/// All commands, in the order of apps/commands/list.inc.
std::span<const CommandEntry* const> command_registry();

/// A parser that knows the options of the command, which must outlive it.
Parser make_parser(const CommandEntry& entry, Command& command);

/// The command that the words after the program's name ask for, ready to run; help is a command that prints
/// its text. Error (usage): what is wrong, and the nearest name where one is unknown.
std::unique_ptr<Command> parse_command_line(const std::vector<std::string>& arguments);

}  // namespace mbs

/// Last line of a command's file: COMMAND(name, Class, summary, description, examples). An underscore in the
/// name is a blank on the command line. NETWORK_COMMAND: help also lists the networks.
#define COMMAND(name, Class, summary, description, examples) \
  MBS_COMMAND(name, Class, summary, description, examples, false)
#define NETWORK_COMMAND(name, Class, summary, description, examples) \
  MBS_COMMAND(name, Class, summary, description, examples, true)
#define MBS_COMMAND(name, Class, summary, description, examples, networks) \
  extern const ::mbs::CommandEntry kCommand_##name;                        \
  const ::mbs::CommandEntry kCommand_##name{                               \
      #name,    summary,  description,                                     \
      examples, networks, []() -> std::unique_ptr<Command> { return std::make_unique<Class>(); }};
