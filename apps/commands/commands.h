// The sub-commands: each prints what it found and returns the exit code.
#pragma once

#include "apps/commands/bench_options.h"
#include "apps/options/options.h"

namespace mbs {

int run_train(const TrainOptions& options);
int run_eval(const EvalOptions& options);
int run_predict(const PredictOptions& options);
int run_plan(const PlanCliOptions& options);
int run_tune(const TuneOptions& options);
int run_compare(const CompareOptions& options);
int run_simulate(const SimulateOptions& options);
int run_paper(const PaperOptions& options);
int run_gemm(const GemmOptions& options);
int run_data(const DataOptions& options);
int run_info(const InfoOptions& options);
int run_demo(const DemoOptions& options);
int run_bench_machine(const BenchMachineOptions& options);
int run_bench_kernels(const BenchKernelsOptions& options);
int run_bench_step(const BenchStepOptions& options);

}  // namespace mbs
