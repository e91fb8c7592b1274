// Machines and memories as data: what the presets say, and which files are refused with which words.
#include <cmath>

#include "tests/doctest.h"
#include "tests/helpers.h"
#include "wavecore/machine.h"

namespace mbs {
namespace {

/// What load_machine says of a file with this text, without the folder; "" if it takes it.
std::string complaint(const std::string& text) {
  const TempFolder folder;
  const std::string path = folder / "m.json";
  write_file(path, Bytes(text.begin(), text.end()));
  const std::string said = error_of([&] { load_machine(path); });
  const size_t at = said.find(path);
  return at == std::string::npos ? said : said.substr(0, at) + "m.json" + said.substr(at + path.size());
}

Machine load_text(const std::string& text) {
  const TempFolder folder;
  const std::string path = folder / "m.json";
  write_file(path, Bytes(text.begin(), text.end()));
  return load_machine(path);
}

/// A file that changes one key of the preset.
std::string with(const std::string& key, const std::string& value) {
  return "{\"base\": \"wavecore\", \"" + key + "\": " + value + "}";
}
std::string constant(const std::string& value, const std::string& unit) {
  return "{\"value\": " + value + ", \"unit\": \"" + unit + "\", \"source\": \"a test\"}";
}

TEST_CASE("machine: the preset is WaveCore, and its buffers hold one tile exactly") {
  const Machine m = load_machine("wavecore");
  EXPECT(m.name == "wavecore");
  // 2 cores x 128 x 128 units x 2 operations x 0.7 GHz = 45.9 TFLOPS
  EXPECT(std::abs(2.0 * m.chip_cores * m.array_rows * m.array_cols * m.cycles_per_s() - 45.9e12) < 0.1e12);
  EXPECT(m.global_buffer_bytes == 10 << 20);
  EXPECT(m.local_a_bytes == m.tile_rows * m.array_rows * kOperandBytes);
  EXPECT(m.local_b_bytes == m.array_rows * m.array_cols * kOperandBytes);
  EXPECT(m.accumulator_bytes == m.tile_rows * m.array_cols * kSumBytes);
  EXPECT(m.memory == memory_preset("hbm2"));
  EXPECT(m.array().tile_rows == 256);
}

TEST_CASE("machine: memories have the bandwidth of their devices") {
  struct Expected {
    const char* name;
    double devices, gbit_per_s, bits;
  };
  // GB/s of all devices; 1 GiB/s = 1.073741824 GB/s.
  for (const Expected& e :
       {Expected{"hbm2e", 1, 3.2, 1024}, Expected{"hbm3", 1, 6.4, 1024}, Expected{"gddr6", 12, 14, 32},
        Expected{"lpddr5", 8, 6.4, 64}, Expected{"ddr5", 8, 4.8, 64}}) {
    CAPTURE(e.name);
    const double bytes_per_s = e.devices * e.gbit_per_s * 1e9 * e.bits / 8;
    EXPECT(std::abs(memory_preset(e.name).bytes_per_s() / bytes_per_s - 1) < 1e-4);
  }
  EXPECT(memory_preset("hbm2x2").gib_per_s == 2 * memory_preset("hbm2").gib_per_s);
  EXPECT(memory_preset("gddr5").gib_per_s == 12 * 32);
  EXPECT(std::abs(memory_preset("lpddr4").gib_per_s - 8 * 29.9) < 1e-9);
  EXPECT(memory_preset("hbm2").pj_per_byte() == 8 * 3.9);
  EXPECT(memory_names() == std::vector<std::string>{"hbm2", "hbm2x2", "gddr5", "lpddr4", "hbm2e", "hbm3",
                                                    "gddr6", "lpddr5", "ddr5"});
  EXPECT(machine_names() == std::vector<std::string>{"wavecore"});
}

TEST_CASE("machine: the energy of a buffer follows its size") {
  const Machine m = load_machine("wavecore");
  const auto energy = [&](double mib) {
    return m.global_buffer_pj_per_byte(static_cast<int64_t>(mib * 0x1p20));
  };
  EXPECT(std::abs(energy(5) - 7.0) < 1e-12);
  EXPECT(std::abs(energy(10) - 9.2) < 1e-12);
  EXPECT(std::abs(energy(20) - 13.9) < 1e-12);
  // Half way between two sizes on a logarithmic scale: the geometric mean.
  EXPECT(std::abs(energy(10 * std::sqrt(2)) - std::sqrt(9.2 * 13.9)) < 1e-4);
  // Beyond the last size and before the first the nearest line goes on.
  EXPECT(std::abs(energy(40) - 13.9 * 13.9 / 9.2) < 1e-9);
  EXPECT(std::abs(energy(2.5) - 7.0 * 7.0 / 9.2) < 1e-9);
  Machine one = m;
  one.global_buffer_energy.resize(1);
  EXPECT(one.global_buffer_pj_per_byte(123) == 7.0);
}

TEST_CASE("machine: the printed text is the machine, with a source for every constant") {
  const Machine wavecore = load_machine("wavecore");
  const std::string text = machine_text("wavecore");
  EXPECT(load_text(text) == wavecore);
  EXPECT(text.find("\"gib_per_s\"") != std::string::npos);  // the memory is written out
  const TempFolder folder;
  const std::string path = folder / "m.json";
  const std::string slower = with("clock_ghz", constant("0.5", "GHz"));
  write_file(path, Bytes(slower.begin(), slower.end()));
  EXPECT(load_text(machine_text(path)) == load_machine(path));
  for (const std::string& name : memory_names()) {
    const Machine m = load_text(with("memory", "\"" + name + "\""));
    EXPECT(m.memory == memory_preset(name));
  }
}

TEST_CASE("machine: a file changes what it names and nothing else") {
  Machine expected = load_machine("wavecore");
  const Machine faster = load_text(with("clock_ghz", constant("1.25", "GHz")));
  EXPECT(faster.name.ends_with("m.json"));
  expected.name = faster.name;
  expected.clock_ghz = 1.25;
  EXPECT(faster == expected);

  const Machine slower =
      load_text(R"({"base": "wavecore", "name": "slow", "memory": {"base": "ddr5", "efficiency": )" +
                constant("0.5", "1") + "}}");
  EXPECT(slower.name == "slow");
  EXPECT(slower.memory.name == "custom");
  EXPECT(slower.memory.bytes_per_s() == memory_preset("ddr5").bytes_per_s() / 2);
  // Without a base of its own, a memory starts from the machine's.
  EXPECT(load_text(with("memory", "{\"static_w\": " + constant("9", "W") + "}")).memory.gib_per_s == 300);
}

TEST_CASE("machine: names that do not exist list those that do") {
  EXPECT(error_of([] { load_machine("wavecoer"); }) ==
         "usage: there is no machine 'wavecoer'; there are: wavecore");
  EXPECT(error_of([] { memory_preset("hbm4"); }) ==
         "usage: there is no memory 'hbm4'; there are: hbm2, hbm2x2, gddr5, lpddr4, hbm2e, hbm3, gddr6, "
         "lpddr5, ddr5");
  EXPECT(complaint(with("memory", "\"hbm4\""))
             .starts_with("usage: m.json: 'memory': there is no memory 'hbm4'"));
  EXPECT(complaint("{\"base\": \"tpu\"}").starts_with("usage: m.json: 'base': there is no machine 'tpu'"));
  EXPECT(error_of([] { load_machine("no/such/file"); }) ==
         "no/such/file: cannot be read; a machine is a JSON file or one of: wavecore");
}

TEST_CASE("machine: files that cannot be meant are refused, with the key") {
  EXPECT(complaint("{").starts_with("m.json: not JSON: "));
  EXPECT(complaint("[]") == "m.json: the document must be an object");
  EXPECT(complaint("{}") ==
         "m.json: the document lacks 'chip_cores': give it, or a \"base\" to take it from");
  EXPECT(complaint(with("clock_gzh", "1")) ==
         "m.json: the document has no key 'clock_gzh'; the nearest is clock_ghz");
  EXPECT(complaint(with("clock_ghz", "1")) == "m.json: 'clock_ghz' must be an object");
  EXPECT(complaint(with("clock_ghz", constant("1000", "MHz"))) ==
         "m.json: 'clock_ghz' has the unit 'MHz'; it must be 'GHz'");
  EXPECT(complaint(with("clock_ghz", R"({"value": 1, "unit": "GHz"})")) ==
         "m.json: 'clock_ghz.source' is missing");
  EXPECT(complaint(with("clock_ghz", R"({"value": 1, "unit": "GHz", "source": ""})")) ==
         "m.json: 'clock_ghz.source' must be a text that is not empty");
  EXPECT(complaint(with("clock_ghz", R"({"value": 1, "unti": "GHz", "source": "a"})")) ==
         "m.json: 'clock_ghz' has no key 'unti'; the nearest is unit");
  EXPECT(complaint(with("clock_ghz", constant("\"1\"", "GHz"))) ==
         "m.json: 'clock_ghz.value' is \"1\"; it must be a number");
  EXPECT(complaint(with("array_rows", constant("12.5", "rows"))) ==
         "m.json: 'array_rows.value' is 12.5; it must be a whole number");
  EXPECT(complaint(with("array_rows", constant("5000000000", "rows"))) ==
         "m.json: 'array_rows.value' is 5000000000, which is too large");
  EXPECT(complaint(with("memory", "{\"pj_per_bti\": 1}")) ==
         "m.json: 'memory' has no key 'pj_per_bti'; the nearest is pj_per_bit");
  EXPECT(complaint(with("global_buffer_energy", "3")) == "m.json: 'global_buffer_energy' must be a list");
  EXPECT(complaint(with("global_buffer_energy",
                        R"([{"bytes": 5, "value": 1, "unit": "pJ/bit", "source": "a"}])")) ==
         "m.json: 'global_buffer_energy[0]' has the unit 'pJ/bit'; it must be 'pJ/byte'");
}

TEST_CASE("machine: impossible machines are refused, with the key") {
  EXPECT(complaint(with("chip_cores", constant("0", "cores"))) ==
         "m.json: 'chip_cores' is 0; it must be from 1 to 65536");
  EXPECT(complaint(with("clock_ghz", constant("0", "GHz"))) ==
         "m.json: 'clock_ghz' is 0; it must be positive");
  EXPECT(complaint(with("mac_pj", constant("-1", "pJ"))) ==
         "m.json: 'mac_pj' is -1; it must not be negative");
  EXPECT(complaint(with("array_rows", constant("256", "rows"))) ==
         "m.json: 'local_a_bytes' is 65536 bytes, below one tile: tile_rows x array_rows x 2 = 131072 bytes");
  EXPECT(complaint(with("memory", "{\"efficiency\": " + constant("1.5", "1") + "}")) ==
         "m.json: 'memory.efficiency' is 1.5; it is a share of the peak, at most 1");

  const auto refused = [](const char* key, const auto& change) {
    Machine m = load_machine("wavecore");
    change(m);
    return error_of([&] { validate(m); }).starts_with("'" + std::string(key) + "' is ");
  };
  EXPECT(refused("array_cols", [](Machine& m) { m.array_cols = -3; }));
  EXPECT(refused("tile_rows", [](Machine& m) { m.tile_rows = -1; }));
  EXPECT(refused("local_b_bytes", [](Machine& m) { --m.local_b_bytes; }));
  EXPECT(refused("accumulator_bytes", [](Machine& m) { --m.accumulator_bytes; }));
  EXPECT(refused("accumulator_bytes", [](Machine& m) { ++m.tile_rows, m.local_a_bytes *= 2; }));
  EXPECT(refused("global_buffer_bytes", [](Machine& m) { m.global_buffer_bytes = 160 * 1024 - 1; }));
  EXPECT(refused("vector_elems_per_cycle", [](Machine& m) { m.vector_elems_per_cycle = -1; }));
  EXPECT(refused("memory.gib_per_s", [](Machine& m) { m.memory.gib_per_s = NAN; }));
  EXPECT(refused("memory.pj_per_bit", [](Machine& m) { m.memory.pj_per_bit = -1; }));
  EXPECT(refused("memory.static_w", [](Machine& m) { m.memory.static_w = -1; }));
  EXPECT(refused("local_buffer_pj_per_byte", [](Machine& m) { m.local_buffer_pj_per_byte = -1; }));
  EXPECT(refused("accumulator_pj_per_byte", [](Machine& m) { m.accumulator_pj_per_byte = INFINITY; }));
  EXPECT(refused("vector_pj_per_elem", [](Machine& m) { m.vector_pj_per_elem = -1; }));
  EXPECT(refused("static_w", [](Machine& m) { m.static_w = -1; }));
  EXPECT(refused("global_buffer_energy[1].bytes", [](Machine& m) { m.global_buffer_energy[1].bytes = 5; }));
  EXPECT(refused("global_buffer_energy[2].value",
                 [](Machine& m) { m.global_buffer_energy[2].pj_per_byte = 0; }));
  // Without a limit of rows, a buffer needs to hold one.
  EXPECT(!refused("accumulator_bytes", [](Machine& m) { m.tile_rows = 0, m.accumulator_bytes = 512; }));
}

}  // namespace
}  // namespace mbs
