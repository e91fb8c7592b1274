// `mbs info`: instruction set, threads, BLAS, caches.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/commands/command.h"
#include "apps/report/number_text.h"
#include "apps/resolve/machine_info.h"
#include "engine/real.h"

namespace mbs {

namespace {

class Info final : public Command {
  bool json_ = false;

  void declare(Parser& parser) override { parser({"--json", "print JSON"}, json_); }

  int run() override {
    const MachineInfo info = machine_info();
    const char* precision = sizeof(real) == 4 ? "float" : "double";
    if (json_) {
      nlohmann::ordered_json json{{"processor", info.processor},
                                  {"isa", info.isa},
                                  {"hardware_threads", info.hardware_threads},
                                  {"blas", info.blas},
                                  {"precision", precision},
                                  {"caches", nlohmann::ordered_json::array()}};
      for (const Cache& cache : info.caches)
        json["caches"].push_back({{"level", cache.level}, {"type", cache.type}, {"bytes", cache.bytes}});
      fmt::print("{}\n", json.dump(2));
      return 0;
    }
    fmt::print("processor         {}\n", info.processor.empty() ? "unknown" : info.processor);
    fmt::print("instruction set   {} (as Google Highway names it)\n", info.isa);
    fmt::print("hardware threads  {}\n", info.hardware_threads);
    fmt::print("BLAS              {}\n", info.blas);
    fmt::print("precision         {}\n", precision);
    for (const Cache& cache : info.caches)
      fmt::print("{:<18}{} {}\n", fmt::format("level {} cache", cache.level), binary_bytes(cache.bytes),
                 cache.type);
    return 0;
  }
};

}  // namespace

COMMAND(info, Info, "instruction set, threads, BLAS and caches of this machine", "What this machine is.",
        "  mbs info\n  mbs info --json\n")

}  // namespace mbs
