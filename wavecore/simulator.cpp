#include "wavecore/simulator.h"

#include <algorithm>

#include "engine/check.h"

namespace mbs {
namespace {

constexpr double kJoulesPerPj = 1e-12;

bool is_feature(const Operand& o) { return o.role == Role::feature || o.role == Role::gradient; }

double& part(PartSeconds& seconds, Bound bound) {
  switch (bound) {
    case Bound::array:
      return seconds.array;
    case Bound::vector:
      return seconds.vector;
    case Bound::dram:
      break;
  }
  return seconds.dram;
}

// Adds a piece of work whose parts run side by side.
void add_overlapped(const PartSeconds& alone, StepCost& cost) {
  part(cost.paced_by, alone.bound()) += alone.longest();
  cost.seconds += alone.longest();
}

void set_seconds(const Machine& machine, const StepWork& work, Overlap overlap, StepCost& cost) {
  for (const LayerWork& layer : work.layers) {
    const PartSeconds alone = part_seconds(machine, layer.work);
    cost.alone.array += alone.array;
    cost.alone.vector += alone.vector;
    cost.alone.dram += alone.dram;
    if (overlap == Overlap::layer) add_overlapped(alone, cost);
  }
  if (overlap == Overlap::step) add_overlapped(cost.alone, cost);
  if (overlap == Overlap::none) {
    cost.paced_by = cost.alone;
    cost.seconds = cost.alone.sum();
  }
}

Energy energy_of(const Machine& machine, const KernelWork& core, const StepCost& chip) {
  const auto joules = [&](int64_t count, double pj) {
    return static_cast<double>(count) * machine.chip_cores * pj * kJoulesPerPj;
  };
  Energy energy;
  energy.dram = static_cast<double>(chip.traffic.total_bytes()) * machine.memory.pj_per_byte() * kJoulesPerPj;
  energy.mac = joules(core.array.macs, machine.mac_pj);
  energy.global_buffer =
      joules(core.global_buffer_bytes, machine.global_buffer_pj_per_byte(machine.global_buffer_bytes));
  energy.local_buffer = joules(core.local_buffer_bytes, machine.local_buffer_pj_per_byte) +
                        joules(core.accumulator_bytes, machine.accumulator_pj_per_byte);
  energy.vector = joules(core.vector_elems, machine.vector_pj_per_elem);
  energy.idle = (machine.static_w + machine.memory.static_w) * chip.seconds;
  return energy;
}

}  // namespace

KernelWork& KernelWork::operator+=(const KernelWork& other) {
  dram_read_bits += other.dram_read_bits;
  dram_write_bits += other.dram_write_bits;
  if (other.array.units > 0) array += other.array;
  vector_elems += other.vector_elems;
  global_buffer_bytes += other.global_buffer_bytes;
  local_buffer_bytes += other.local_buffer_bytes;
  accumulator_bytes += other.accumulator_bytes;
  return *this;
}

Simulator::Simulator(const Machine& machine, const CountingRules& rules, bool double_buffering)
    : array_(machine.array()),
      cycle_model_(double_buffering ? CycleModel::double_buffer : CycleModel::drain),
      rules_(rules),
      accountant_(rules) {}

KernelWork& Simulator::row(const KernelEvent& event) {
  CHECK(event.node >= 0, "an event of node {}", event.node);
  std::vector<int>& index = index_[static_cast<size_t>(event.phase)];
  const auto node = static_cast<size_t>(event.node);
  if (index.size() <= node) index.resize(node + 1, -1);
  if (index[node] < 0) {
    index[node] = static_cast<int>(layers_.size());
    layers_.push_back({event.phase, event.node, std::string(event.name), std::string(event.spec), {}});
  }
  return layers_[static_cast<size_t>(index[node])].work;
}

void Simulator::on_kernel(const KernelEvent& event) {
  KernelWork& work = row(event);
  const int64_t read_before = accountant_.read_bits(), written_before = accountant_.write_bits();
  accountant_.on_kernel(event);
  work.dram_read_bits += accountant_.read_bits() - read_before;
  work.dram_write_bits += accountant_.write_bits() - written_before;
  if (event.gemms.empty())
    count_vector(event, work);
  else
    count_gemms(event, work);
}

void Simulator::count_gemms(const KernelEvent& event, KernelWork& work) const {
  for (const GemmShape& gemm : event.gemms) {
    GemmCycles cycles = gemm_cycles(gemm.m, gemm.n, gemm.k, array_, ArrayDataflow::ws, cycle_model_);
    cycles.folds *= event.repeat;
    cycles.cycles *= event.repeat;
    cycles.macs *= event.repeat;
    cycles.mapped_units *= event.repeat;
    work.array += cycles;
    const GemmBufferBytes bytes = gemm_buffer_bytes(gemm.m, gemm.n, gemm.k, array_);
    work.global_buffer_bytes += bytes.global_buffer * event.repeat;
    work.local_buffer_bytes += bytes.local_buffers * event.repeat;
    work.accumulator_bytes += bytes.accumulators * event.repeat;
  }
}

// Every element that is read passes through the vector units, and again with every sweep; results leave them
// on the way.
void Simulator::count_vector(const KernelEvent& event, KernelWork& work) const {
  int64_t read = 0, written = 0;
  for (const Operand& o : event.operands) {
    if (!is_feature(o)) continue;
    if (o.access == Access::read) read += o.elems * o.sweeps;
    if (o.access == Access::accumulate) read += o.elems;
    if (o.access != Access::read) written += o.elems;
  }
  work.vector_elems += read * event.repeat;
  work.global_buffer_bytes += (read + written) * event.repeat * rules_.feature_bits / 8;
}

StepWork Simulator::work() const { return {accountant_.traffic(), layers_}; }

void Simulator::reset() {
  accountant_.reset();
  layers_.clear();
  index_ = {};
}

double PartSeconds::longest() const { return std::max({array, vector, dram}); }

Bound PartSeconds::bound() const {
  if (array >= vector && array >= dram) return Bound::array;
  return vector >= dram ? Bound::vector : Bound::dram;
}

PartSeconds part_seconds(const Machine& machine, const KernelWork& work) {
  PartSeconds seconds;
  seconds.array = static_cast<double>(work.array.cycles) / machine.cycles_per_s();
  if (machine.vector_elems_per_cycle > 0)
    seconds.vector =
        static_cast<double>(work.vector_elems) / (machine.vector_elems_per_cycle * machine.cycles_per_s());
  seconds.dram = work.dram_bytes() * machine.chip_cores / machine.memory.bytes_per_s();
  return seconds;
}

StepCost step_cost(const Machine& machine, const StepWork& work, Overlap overlap) {
  KernelWork core;
  for (const LayerWork& layer : work.layers) core += layer.work;
  StepCost cost;
  for (int c = 0; c < machine.chip_cores; ++c) cost.traffic += work.traffic;
  cost.macs = core.array.macs * machine.chip_cores;
  cost.array_cycles = core.array.cycles;
  cost.utilization = core.array.cycles > 0 ? core.array.utilization() : 0;
  set_seconds(machine, work, overlap, cost);
  cost.energy = energy_of(machine, core, cost);
  return cost;
}

}  // namespace mbs
