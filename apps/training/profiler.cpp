#include "apps/training/profiler.h"

#include <algorithm>

#include "engine/real.h"
#include "engine/spec.h"

namespace mbs {
namespace {

// Masks as the kernels keep them: a bit an element; pooling indices: a byte.
int64_t bytes_of(const Operand& operand) {
  if (operand.role == Role::relu_mask) return (operand.elems + 7) / 8;
  if (operand.role == Role::pool_index) return operand.elems;
  const int64_t times = operand.access == Access::accumulate ? 2 : 1;
  return operand.elems * times * static_cast<int64_t>(sizeof(real));
}

std::string kind_of(const Node& node) {
  const Spec spec = Spec::parse(node.spec);
  return spec.layer() + (spec.int_or("relu", 0) > 0 ? "+relu" : "");
}

}  // namespace

double CoreProfiler::lap() {
  const Clock::time_point now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - last_).count();
  last_ = now;
  return seconds;
}

void CoreProfiler::on_kernel(const KernelEvent& event) {
  const Way way = event.recompute ? recompute : event.phase == Phase::forward ? forward : backward;
  Sum& sum = sums_[static_cast<size_t>(event.node)][way];
  sum.seconds += lap();
  sum.calls++;
  sum.macs += nominal_macs(event.gemms);
  for (const Operand& operand : event.operands) sum.bytes += bytes_of(operand);
  if (next_ == nullptr) return;
  next_->on_kernel(event);
  recorder_seconds_ += lap();
}

void CoreProfiler::on_stage(Stage stage) {
  const double seconds = lap();
  if (stage != Stage::begin) stages_[static_cast<size_t>(stage)] += seconds;
  if (next_ != nullptr) next_->on_stage(stage);
}

double CoreProfiler::busy_seconds() const {
  double busy = seconds(Stage::clear) + recorder_seconds_;
  for (const auto& ways : sums_)
    for (const Sum& sum : ways) busy += sum.seconds;
  return busy;
}

Profiler::Profiler(const Network& network, int cores, int threads, std::span<Recorder* const> next)
    : network_(network), threads_(std::min(threads, cores)) {
  for (int c = 0; c < cores; ++c) {
    Recorder* behind = next.empty() ? nullptr : next[static_cast<size_t>(c)];
    cores_.push_back(std::make_unique<CoreProfiler>(network.node_count(), behind));
    recorders_.push_back(cores_.back().get());
  }
}

void Profiler::add_step(double seconds) {
  steps_++;
  seconds_ += seconds;
}

Profile Profiler::profile() const {
  Profile profile{steps_, seconds_, {}};
  add_layers(profile);
  add_stages(profile);
  return profile;
}

void Profiler::add_layers(Profile& profile) const {
  constexpr std::array<const char*, CoreProfiler::kWays> names = {"forward", "backward", "recompute"};
  for (NodeId n = 0; n < network_.node_count(); ++n)
    for (size_t way = 0; way < names.size(); ++way) {
      ProfileRow row{.part = kind_of(network_.node(n)), .phase = names[way]};
      for (const auto& core : cores_) {
        const CoreProfiler::Sum& sum = core->sum(n, static_cast<CoreProfiler::Way>(way));
        row.calls += sum.calls;
        row.seconds += sum.seconds / threads_;
        row.flops += 2 * static_cast<double>(sum.macs);
        row.bytes += static_cast<double>(sum.bytes);
      }
      if (row.calls > 0) profile += {0, 0, {row}};
    }
  // Forward and backward of a kind follow each other, the kinds as the network first has them.
  std::vector<std::string> kinds;
  for (const ProfileRow& row : profile.rows)
    if (std::find(kinds.begin(), kinds.end(), row.part) == kinds.end()) kinds.push_back(row.part);
  const auto place = [&](const ProfileRow& row) {
    return std::find(kinds.begin(), kinds.end(), row.part) - kinds.begin();
  };
  std::stable_sort(profile.rows.begin(), profile.rows.end(),
                   [&](const ProfileRow& a, const ProfileRow& b) { return place(a) < place(b); });
}

void Profiler::add_stages(Profile& profile) const {
  // The caller's stages take as long for every core that waits for them: the first one tells.
  const CoreProfiler& first = *cores_.front();
  double clear = 0, count = 0, busy = 0;
  for (const auto& core : cores_) {
    clear += core->seconds(Stage::clear) / threads_;
    count += core->recorder_seconds() / threads_;
    busy += core->busy_seconds() / threads_;
  }
  const auto add = [&](const char* part, double seconds) {
    profile.rows.push_back({.part = part, .phase = "step", .seconds = seconds});
  };
  add("prepare weights", first.seconds(Stage::prepare));
  add("clear gradients", clear);
  add("wait for threads", first.region_seconds() - busy);
  add("collect losses", first.seconds(Stage::loss));
  add("sum gradients", first.seconds(Stage::sum));
  add("optimizer", first.seconds(Stage::optimizer));
  if (count > 0) add("count in the model", count);
}

}  // namespace mbs
