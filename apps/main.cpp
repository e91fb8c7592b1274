// The mbs program: one sub-command, one place that catches errors, exit codes 0 done, 1 failed, 2 usage, 3
// target missed, 130 interrupted.
#include <fmt/core.h>

#include <cstdio>
#include <exception>
#include <new>

#include "apps/commands/cli.h"
#include "apps/commands/commands.h"
#include "engine/check.h"
#include "engine/gemm.h"

namespace {

using namespace mbs;

struct Dispatch {
  int operator()(const HelpText& help) const {
    fmt::print("{}", help.text);
    return 0;
  }
  int operator()(const TrainOptions& options) const { return run_train(options); }
  int operator()(const EvalOptions& options) const { return run_eval(options); }
  int operator()(const PredictOptions& options) const { return run_predict(options); }
  int operator()(const PlanCliOptions& options) const { return run_plan(options); }
  int operator()(const TuneOptions& options) const { return run_tune(options); }
  int operator()(const CompareOptions& options) const { return run_compare(options); }
  int operator()(const SimulateOptions& options) const { return run_simulate(options); }
  int operator()(const PaperOptions& options) const { return run_paper(options); }
  int operator()(const GemmOptions& options) const { return run_gemm(options); }
  int operator()(const DataOptions& options) const { return run_data(options); }
  int operator()(const InfoOptions& options) const { return run_info(options); }
  int operator()(const DemoOptions& options) const { return run_demo(options); }
  int operator()(const BenchMachineOptions& options) const { return run_bench_machine(options); }
  int operator()(const BenchKernelsOptions& options) const { return run_bench_kernels(options); }
  int operator()(const BenchStepOptions& options) const { return run_bench_step(options); }
};

}  // namespace

int main(int argc, char** argv) {
  try {
    const int code = std::visit(Dispatch{}, parse_command_line({argv + 1, argv + argc}));
    if (std::fflush(stdout) != 0) fail("the output could not be written");
    return code;
  } catch (const Error& error) {
    fmt::print(stderr, "mbs: {}\n", error.what());
    return error.kind() == ErrorKind::usage ? 2 : 1;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "mbs: out of memory; a smaller --batch-size or --image-size needs less\n");
    return 1;
  } catch (const std::exception& error) {  // nothing of ours: a library met what it did not expect
    fmt::print(stderr, "mbs: unexpected: {}\n", error.what());
    return 1;
  }
}
