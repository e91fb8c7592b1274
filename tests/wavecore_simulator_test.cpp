// The cost of a step: a step worked out by hand, and laws over random networks, schedules and machines.
#include <algorithm>
#include <cmath>

#include "engine/random.h"
#include "tests/doctest.h"
#include "tests/helpers.h"
#include "tests/mbs_networks.h"
#include "tests/random_schedule.h"
#include "wavecore/simulator.h"

using namespace mbs;
using namespace mbs::tests;

namespace {

// Odd sizes throughout: 3 x 2 units, row tiles of 5, 1 GHz, and a memory of 1 byte per ns.
Machine small_machine() {
  Machine m;
  m.name = "small";
  m.chip_cores = 1;
  m.array_rows = 3;
  m.array_cols = 2;
  m.tile_rows = 5;
  m.clock_ghz = 1;
  m.global_buffer_bytes = 1000;
  m.local_a_bytes = m.local_b_bytes = m.accumulator_bytes = 1000;
  m.vector_elems_per_cycle = 4;
  m.memory = {"slow", 1e9 / 0x1p30, 2, 0.25, 1};
  m.mac_pj = 3;
  m.global_buffer_energy = {{1000, 5}};
  m.local_buffer_pj_per_byte = 7;
  m.accumulator_pj_per_byte = 11;
  m.vector_pj_per_elem = 13;
  m.static_w = 0.5;
  return m;
}

Machine random_machine(uint64_t seed) {
  const Random random(seed, Stream::test);
  uint64_t i = 1000;
  const auto upto = [&](int n) { return 1 + static_cast<int>(random.below(i++, static_cast<uint64_t>(n))); };
  Machine m = small_machine();
  m.chip_cores = upto(4);
  m.array_rows = upto(20);
  m.array_cols = upto(20);
  m.tile_rows = upto(3) == 1 ? 0 : upto(50);
  m.clock_ghz = 0.1 * upto(30);
  m.vector_elems_per_cycle = upto(4) == 1 ? 0 : upto(64);
  m.memory.gib_per_s = upto(100);
  m.memory.efficiency = 1.0 / upto(3);
  m.static_w = upto(10);
  return m;
}

// conv 1x1 of 3 to 4 channels on 2 x 1 pixels, ReLU, classifier of 5.
Network worked_example() {
  Network n("worked", {2, 1, 3});
  const TensorId r = n.add("relu", "relu", {n.add("conv", "conv2d out=4 kernel=1", {n.input()})});
  n.add("loss", "softmax_loss", {n.add("fc", "linear out=5", {r})});
  return n;
}

StepWork work_of(const Network& network, const Schedule& schedule, const Machine& machine,
                 bool double_buffering = true, bool fold = true) {
  Simulator simulator(machine, counting_rules(traffic_rules("paper")), double_buffering);
  (fold ? folded_dry_run : dry_run)(network, schedule, schedule.batch, simulator);
  return simulator.work();
}

const KernelWork& find(const StepWork& work, const std::string& name, Phase phase) {
  const auto found = std::find_if(work.layers.begin(), work.layers.end(), [&](const LayerWork& layer) {
    return layer.name == name && layer.phase == phase;
  });
  REQUIRE(found != work.layers.end());
  return found->work;
}

KernelWork total(const StepWork& work) {
  KernelWork sum;
  for (const LayerWork& layer : work.layers) sum += layer.work;
  return sum;
}

bool near(double a, double b) { return std::abs(a - b) <= 1e-12 * std::max(std::abs(a), std::abs(b)); }

std::vector<Network> networks() {
  std::vector<Network> list;
  list.push_back(worked_example());
  list.push_back(inception_like());
  list.push_back(entangled());
  list.push_back(zoo_network("resnet8"));
  return list;
}

}  // namespace

TEST_CASE("a small step worked out by hand") {
  const Network net = worked_example();
  const Machine machine = small_machine();
  const StepWork work = work_of(net, layer_by_layer(net, 3), machine, false);

  // Forward, 3 samples: 6 rows of pixels x 3 inputs x 4 outputs on 3 rows x 2 columns: 2 folds, each for a
  // row tile of 5 and one of 1. Shift 3 + folds of (5 + 3) x 2, of (1 + 3) x 1, the last row, skew 3 + 2 - 2.
  const KernelWork& conv = find(work, "conv", Phase::forward);
  EXPECT(conv.array.macs == 6 * 3 * 4);
  EXPECT(conv.array.cycles == 3 + 2 * (5 + 3) + 1 * (1 + 3) + 1 + 3);
  EXPECT(conv.dram_read_bits == 16 * (3 * 2 * 3 + 3 * 4));  // x, weights
  EXPECT(conv.dram_write_bits == 16 * (3 * 2 * 4));  // y: no backward pass reads it, the ReLU is off chip
  EXPECT(conv.vector_elems == 0);
  // x once for each of 2 column folds, weights once for each of 2 row tiles, results.
  EXPECT(conv.global_buffer_bytes == 2 * (6 * 3 * 2 + 3 * 4 * 2 + 6 * 4));
  EXPECT(conv.accumulator_bytes == 2 * 4 * (6 * 4 * 1));

  const KernelWork& relu = find(work, "relu", Phase::forward);
  EXPECT(relu.vector_elems == 24);
  EXPECT(relu.global_buffer_bytes == 2 * (24 + 24));
  EXPECT(relu.dram_read_bits == 16 * 24);
  EXPECT(relu.dram_write_bits == 16 * 24 + 24);  // y, kept for the classifier's backward pass, and the mask
  EXPECT(relu.array.cycles == 0);

  // Backward the convolution is the first layer: a weight gradient only, 3 x 4 over 6 pixels, 2 x 2 folds of
  // 3 rows.
  const KernelWork& back = find(work, "conv", Phase::backward);
  EXPECT(back.array.macs == 6 * 3 * 4);
  EXPECT(back.array.cycles == 3 + 3 * (3 + 3) + 3 + 3);
  EXPECT(back.dram_read_bits == 16 * (18 + 24));  // stored x, gradient of y: one sweep each
  EXPECT(back.dram_write_bits == 16 * 12);

  const PartSeconds seconds = part_seconds(machine, relu);
  EXPECT(near(seconds.vector, 24 / 4.0 * 1e-9));
  EXPECT(near(seconds.dram, (2 * 24 + 2 * 24 + 3) * 1e-9));
  EXPECT(seconds.array == 0);
  EXPECT(seconds.bound() == Bound::dram);

  const StepCost cost = step_cost(machine, work, Overlap::none);
  const double bytes = static_cast<double>(work.traffic.total_bytes());
  EXPECT(near(cost.alone.dram, bytes * 1e-9));
  EXPECT(near(cost.energy.dram, bytes * 8 * 2e-12));  // 2 pJ a bit
  // conv twice, fc three times: 3 samples x 8 inputs x 5 outputs.
  EXPECT(cost.macs == 2 * (6 * 3 * 4) + 3 * (3 * 8 * 5));
  EXPECT(near(cost.energy.mac, static_cast<double>(cost.macs) * 3e-12));
  EXPECT(near(cost.energy.idle, (0.5 + 0.25) * cost.seconds));
}

TEST_CASE("double buffering hides the way of the weights into the array") {
  const Network net = worked_example();
  const StepWork work = work_of(net, layer_by_layer(net, 3), small_machine(), true);
  // As above with folds of max(5, 3) and max(1, 3).
  EXPECT(find(work, "conv", Phase::forward).array.cycles == 3 + 2 * 5 + 1 * 3 + 1 + 3);
}

TEST_CASE("cores share the bandwidth, and each does the same work") {
  const Network net = worked_example();
  Machine machine = small_machine();
  const StepWork work = work_of(net, layer_by_layer(net, 3), machine);
  const StepCost one = step_cost(machine, work, Overlap::step);
  machine.chip_cores = 3;
  const StepCost three = step_cost(machine, work, Overlap::step);
  EXPECT(three.traffic.total_bytes() == 3 * one.traffic.total_bytes());
  EXPECT(three.macs == 3 * one.macs);
  EXPECT(three.array_cycles == one.array_cycles);
  EXPECT(near(three.alone.dram, 3 * one.alone.dram));
  EXPECT(near(three.alone.array, one.alone.array));
  EXPECT(near(three.energy.mac, 3 * one.energy.mac));
  EXPECT(near(three.energy.dram, 3 * one.energy.dram));
}

TEST_CASE("laws of work, over random schedules and machines") {
  for (const Network& net : networks()) {
    CAPTURE(net.name());
    const int64_t macs = total(work_of(net, layer_by_layer(net, 7), small_machine())).array.macs;
    for (uint64_t seed = 0; seed < 8; ++seed) {
      CAPTURE(seed);
      const Schedule schedule = random_schedule(net, 7, seed);
      const Machine machine = random_machine(seed);
      const StepWork work = work_of(net, schedule, machine), single = work_of(net, schedule, machine, false);
      const KernelWork sum = total(work);
      EXPECT(work.traffic == predicted_traffic(net, schedule, traffic_rules("paper")));
      // Layers count bits, the step whole bytes per class and direction.
      const int64_t bits = sum.dram_read_bits + sum.dram_write_bits;
      EXPECT(bits <= 8 * work.traffic.total_bytes());
      EXPECT(bits > 8 * (work.traffic.total_bytes() - 2 * static_cast<int64_t>(kTrafficClasses)));
      EXPECT(sum.array.macs == macs);  // whatever the order
      EXPECT(sum.array.cycles * machine.array_rows * machine.array_cols >= macs);
      EXPECT(sum.array.utilization() <= 1);
      EXPECT(sum.array.cycles <= total(single).array.cycles);
      for (const LayerWork& layer : work.layers)
        EXPECT(layer.work.array.cycles * machine.array_rows * machine.array_cols >= layer.work.array.macs);
    }
  }
}

TEST_CASE("events that stand for several count as much as these") {
  for (const Network& net : networks()) {
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const Schedule schedule = random_schedule(net, 13, seed);
      const StepWork folded = work_of(net, schedule, random_machine(seed), true, true);
      const StepWork all = work_of(net, schedule, random_machine(seed), true, false);
      REQUIRE(folded.layers.size() == all.layers.size());
      for (size_t i = 0; i < all.layers.size(); ++i) {
        const KernelWork &a = folded.layers[i].work, &b = all.layers[i].work;
        CAPTURE(all.layers[i].name);
        EXPECT(a.dram_read_bits == b.dram_read_bits);
        EXPECT(a.dram_write_bits == b.dram_write_bits);
        EXPECT(a.array.cycles == b.array.cycles);
        EXPECT(a.array.macs == b.array.macs);
        EXPECT(a.vector_elems == b.vector_elems);
        EXPECT(a.global_buffer_bytes == b.global_buffer_bytes);
        EXPECT(a.local_buffer_bytes == b.local_buffer_bytes);
        EXPECT(a.accumulator_bytes == b.accumulator_bytes);
      }
    }
  }
}

TEST_CASE("laws of time and energy, over random schedules and machines") {
  for (const Network& net : networks()) {
    for (uint64_t seed = 0; seed < 8; ++seed) {
      CAPTURE(net.name());
      CAPTURE(seed);
      Machine machine = random_machine(seed);
      const StepWork work = work_of(net, random_schedule(net, 5, seed), machine);
      const StepCost layer = step_cost(machine, work, Overlap::layer);
      const StepCost step = step_cost(machine, work, Overlap::step);
      const StepCost none = step_cost(machine, work, Overlap::none);
      EXPECT(step.seconds <= layer.seconds * (1 + 1e-12));
      EXPECT(layer.seconds <= none.seconds * (1 + 1e-12));
      for (const StepCost& cost : {layer, step, none}) {
        EXPECT(near(cost.seconds, cost.paced_by.sum()));
        EXPECT(cost.seconds >= cost.alone.longest() * (1 - 1e-12));
        const Energy& e = cost.energy;
        EXPECT(near(e.total(), e.dram + e.mac + e.global_buffer + e.local_buffer + e.vector + e.idle));
        EXPECT(near(e.idle, (machine.static_w + machine.memory.static_w) * cost.seconds));
        int64_t classes = 0;
        for (size_t c = 0; c < kTrafficClasses; ++c)
          classes += cost.traffic.class_bytes(static_cast<TrafficClass>(c));
        EXPECT(classes == cost.traffic.total_bytes());
      }
      for (Overlap overlap : {Overlap::layer, Overlap::step, Overlap::none}) {
        Machine faster = machine;
        faster.memory.gib_per_s *= 1.7;
        const StepCost slow = step_cost(machine, work, overlap), fast = step_cost(faster, work, overlap);
        EXPECT(fast.seconds <= slow.seconds);
        EXPECT(near(fast.energy.total() - fast.energy.idle, slow.energy.total() - slow.energy.idle));
      }
    }
  }
}

TEST_CASE("free vector units take no time, and a memory of infinite speed none either") {
  const Network net = zoo_network("resnet8");
  Machine machine = small_machine();
  machine.vector_elems_per_cycle = 0;
  machine.memory.gib_per_s = INFINITY;
  const StepWork work = work_of(net, layer_by_layer(net, 2), machine);
  for (Overlap overlap : {Overlap::layer, Overlap::step, Overlap::none}) {
    const StepCost cost = step_cost(machine, work, overlap);
    EXPECT(near(cost.seconds, static_cast<double>(cost.array_cycles) * 1e-9));
    EXPECT(cost.bound() == Bound::array);
  }
}

TEST_CASE("a lost event is noticed") {
  struct Losing : Recorder {
    Simulator& next;
    int lost, seen = 0;
    Losing(Simulator& n, int l) : next(n), lost(l) {}
    void on_kernel(const KernelEvent& event) override {
      if (seen++ != lost) next.on_kernel(event);
    }
  };
  const Network net = worked_example();
  const Schedule schedule = layer_by_layer(net, 3);
  const double whole =
      step_cost(small_machine(), work_of(net, schedule, small_machine()), Overlap::none).seconds;
  for (int lost = 0; lost < 7; ++lost) {
    Simulator simulator(small_machine(), counting_rules(traffic_rules("paper")), true);
    Losing losing(simulator, lost);
    dry_run(net, schedule, 3, losing);
    CAPTURE(lost);
    EXPECT(step_cost(small_machine(), simulator.work(), Overlap::none).seconds < whole);
  }
}

TEST_CASE("after a reset nothing has been done") {
  Simulator simulator(small_machine(), counting_rules(traffic_rules("paper")), true);
  const Network net = worked_example();
  dry_run(net, layer_by_layer(net, 3), 3, simulator);
  const StepWork first = simulator.work();
  simulator.reset();
  EXPECT(simulator.work().layers.empty());
  EXPECT(simulator.work().traffic == Traffic{});
  dry_run(net, layer_by_layer(net, 3), 3, simulator);
  EXPECT(simulator.work().traffic == first.traffic);
  EXPECT(total(simulator.work()).array.cycles == total(first).array.cycles);
}

TEST_CASE("an overlap rule that does not exist is refused with those that do") {
  EXPECT(parse_word<Overlap>("step") == Overlap::step);
  EXPECT(has(error_of([] { parse_word<Overlap>("all"); }), {"usage", "'all'", "layer, step, none"}));
}
