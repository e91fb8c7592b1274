// The command line.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "apps/commands/bench_options.h"
#include "apps/options/options.h"

namespace mbs {

/// Text to print instead of doing something (help).
struct HelpText {
  std::string text;
};

using Command =
    std::variant<HelpText, TrainOptions, EvalOptions, PredictOptions, PlanCliOptions, TuneOptions,
                 CompareOptions, SimulateOptions, PaperOptions, GemmOptions, InfoOptions, DataOptions,
                 DemoOptions, BenchMachineOptions, BenchKernelsOptions, BenchStepOptions>;

/// What the arguments (without the program's name) ask for. Error (usage): what is wrong, and the nearest
/// flag or sub-command where a name is unknown.
Command parse_command_line(const std::vector<std::string>& arguments);

}  // namespace mbs
