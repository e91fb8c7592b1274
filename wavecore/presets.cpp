// "unverified" marks what nobody has seen in print: a recollection of the paper, or an assumption. The paper
// is Lym et al., "Mini-batch Serialization", MLSys 2019; its full text was not at hand.
#include "wavecore/presets.h"

namespace mbs {

const char* const kMachinePresets = R"json({
"wavecore": {
  "name": "wavecore",
  "chip_cores": {"value": 2, "unit": "cores", "source": "two systolic arrays: Gong et al., Crane, MICRO 2025, section 7.3, 'following the settings of MBS'. That a core is a data-parallel unit: our recollection of the paper, unverified"},
  "array_rows": {"value": 128, "unit": "rows", "source": "128x128 multiply-accumulate units: Crane, section 7.3"},
  "array_cols": {"value": 128, "unit": "columns", "source": "as array_rows"},
  "tile_rows": {"value": 256, "unit": "rows", "source": "assumption: 256 rows of 128 sums of 4 bytes fill the accumulators; unverified"},
  "clock_ghz": {"value": 0.7, "unit": "GHz", "source": "our recollection of the paper, unverified. 2 x 128 x 128 units x 2 x 0.7 GHz = 45.9 TFLOPS; the abstract of Lym's dissertation (UT Austin, 2019) has 45"},
  "global_buffer_bytes": {"value": 10485760, "unit": "bytes", "source": "10 MB a core: Crane, section 7.3. Read as MiB: assumption"},
  "local_a_bytes": {"value": 65536, "unit": "bytes", "source": "our recollection of the paper, unverified; 256 x 128 operands of 2 bytes. One of two halves"},
  "local_b_bytes": {"value": 32768, "unit": "bytes", "source": "our recollection of the paper, unverified; 128 x 128 operands of 2 bytes. One of two halves"},
  "accumulator_bytes": {"value": 131072, "unit": "bytes", "source": "our recollection of the paper, unverified; 256 x 128 sums of 4 bytes"},
  "vector_elems_per_cycle": {"value": 0, "unit": "elements/cycle", "source": "assumption: the width is unknown, so vector work takes no time; unverified"},
  "memory": "hbm2",
  "mac_pj": {"value": 2.0, "unit": "pJ", "source": "FP16 multiply 1.1 + FP32 add 0.9 at 45 nm, 0.9 V: Horowitz, ISSCC 2014. Not scaled to 32 nm"},
  "global_buffer_energy": [
    {"bytes": 5242880, "value": 7.0, "unit": "pJ/byte", "source": "our run of CACTI 7: 32 nm, itrs-hp, 360 K, plain RAM, 32 banks, 64 bytes an access, no ECC: 0.450 nJ a read. itrs-lop: 3.6"},
    {"bytes": 10485760, "value": 9.2, "unit": "pJ/byte", "source": "the same run: 0.588 nJ a read. itrs-lop: 4.8"},
    {"bytes": 20971520, "value": 13.9, "unit": "pJ/byte", "source": "the same run: 0.890 nJ a read. itrs-lop: 7.4"}
  ],
  "local_buffer_pj_per_byte": {"value": 0.65, "unit": "pJ/byte", "source": "our run of CACTI 7: 64 KiB, 1 bank, 256 bytes an access, else as above: 0.165 nJ a read (32 KiB: 0.62)"},
  "accumulator_pj_per_byte": {"value": 1.73, "unit": "pJ/byte", "source": "our run of CACTI 7: 128 KiB, 1 bank, 512 bytes an access, else as above: 0.887 nJ a read"},
  "vector_pj_per_elem": {"value": 4.6, "unit": "pJ/element", "source": "FP32 multiply 3.7 + FP32 add 0.9 at 45 nm: Horowitz, ISSCC 2014. One of each per element: assumption"},
  "static_w": {"value": 10, "unit": "W", "source": "assumption, unverified: no source; CACTI's leakage of two such buffers is 2.6 W (itrs-lop) to 12.8 W (itrs-hp). To be varied"}
}
})json";

const char* const kMemoryPresets = R"json({
"hbm2": {
  "name": "hbm2",
  "gib_per_s": {"value": 300, "unit": "GiB/s", "source": "one stack, 300 GB/s: Crane, MICRO 2025, section 7.3. GiB: our recollection of the paper, unverified (2.4 Gb/s x 1024 bits = 286 GiB/s)"},
  "pj_per_bit": {"value": 3.9, "unit": "pJ/bit", "source": "O'Connor et al., MICRO 2017, as quoted by Crane and by Accelergy"},
  "static_w": {"value": 0.6, "unit": "W", "source": "our run of DRAMsim3: 80 mW standby and refresh a channel, 8 channels"},
  "efficiency": {"value": 1, "unit": "1", "source": "assumption: peak. Our runs of DRAMsim3 reach 0.83 of a channel's peak when streaming"}
},
"hbm2x2": {
  "name": "hbm2x2",
  "gib_per_s": {"value": 600, "unit": "GiB/s", "source": "two stacks as hbm2; our recollection of the paper, unverified"},
  "pj_per_bit": {"value": 3.9, "unit": "pJ/bit", "source": "as hbm2"},
  "static_w": {"value": 1.2, "unit": "W", "source": "two stacks as hbm2"},
  "efficiency": {"value": 1, "unit": "1", "source": "assumption: peak"}
},
"gddr5": {
  "name": "gddr5",
  "gib_per_s": {"value": 384, "unit": "GiB/s", "source": "12 devices x 32 GiB/s; our recollection of the paper, unverified (8 Gb/s x 32 bits = 32 GB/s each)"},
  "pj_per_bit": {"value": 14, "unit": "pJ/bit", "source": "O'Connor et al., MICRO 2017, as quoted by Accelergy"},
  "static_w": {"value": 1.18, "unit": "W", "source": "our run of DRAMsim3: 392 mW standby and refresh for 4 devices, 12 devices"},
  "efficiency": {"value": 1, "unit": "1", "source": "assumption: peak. Our runs of DRAMsim3 reach 0.81 when streaming"}
},
"lpddr4": {
  "name": "lpddr4",
  "gib_per_s": {"value": 239.2, "unit": "GiB/s", "source": "8 devices x 29.9 GiB/s; our recollection of the paper, unverified (3.733 Gb/s x 64 bits = 29.9 GB/s each, so that GB may be meant)"},
  "pj_per_bit": {"value": 8, "unit": "pJ/bit", "source": "Accelergy, 'public data'; published values range from 4 to 14"},
  "static_w": {"value": 4.37, "unit": "W", "source": "our run of DRAMsim3: 546 mW standby and refresh for 64 bits of LPDDR4-2400, 8 devices"},
  "efficiency": {"value": 1, "unit": "1", "source": "assumption: peak. Our runs of DRAMsim3 reach 0.93 when streaming"}
},
"hbm2e": {
  "name": "hbm2e",
  "gib_per_s": {"value": 381.47, "unit": "GiB/s", "source": "one stack, 3.2 Gb/s x 1024 bits = 409.6 GB/s: JEDEC JESD235"},
  "pj_per_bit": {"value": 4.3, "unit": "pJ/bit", "source": "attributed to SK hynix, IEDM 2023, in a public source comment; unverified"},
  "static_w": {"value": 0.6, "unit": "W", "source": "assumption: as an hbm2 stack; unverified"},
  "efficiency": {"value": 1, "unit": "1", "source": "assumption: peak"}
},
"hbm3": {
  "name": "hbm3",
  "gib_per_s": {"value": 762.94, "unit": "GiB/s", "source": "one stack, 6.4 Gb/s x 1024 bits = 819.2 GB/s: preset of Ramulator 2.1"},
  "pj_per_bit": {"value": 3.9, "unit": "pJ/bit", "source": "assumption: between 4.3 of HBM2E and 3.4 of HBM3E; unverified"},
  "static_w": {"value": 0.6, "unit": "W", "source": "assumption: as an hbm2 stack; unverified"},
  "efficiency": {"value": 1, "unit": "1", "source": "assumption: peak"}
},
"gddr6": {
  "name": "gddr6",
  "gib_per_s": {"value": 625.85, "unit": "GiB/s", "source": "12 devices (assumption: as gddr5), 14 Gb/s x 32 bits = 56 GB/s each: preset of Ramulator 2.1"},
  "pj_per_bit": {"value": 7.5, "unit": "pJ/bit", "source": "our recollection of vendors' slides, unverified; 6 to 9"},
  "static_w": {"value": 1.18, "unit": "W", "source": "assumption: as gddr5; unverified"},
  "efficiency": {"value": 1, "unit": "1", "source": "assumption: peak"}
},
"lpddr5": {
  "name": "lpddr5",
  "gib_per_s": {"value": 381.47, "unit": "GiB/s", "source": "8 devices (assumption: as lpddr4), 6.4 Gb/s x 64 bits = 51.2 GB/s each: preset of Ramulator 2.1"},
  "pj_per_bit": {"value": 5, "unit": "pJ/bit", "source": "public projects assume 4 to 8; unverified"},
  "static_w": {"value": 4.37, "unit": "W", "source": "assumption: as lpddr4; unverified"},
  "efficiency": {"value": 1, "unit": "1", "source": "assumption: peak"}
},
"ddr5": {
  "name": "ddr5",
  "gib_per_s": {"value": 286.1, "unit": "GiB/s", "source": "8 channels (assumption: a server's socket) of DDR5-4800, 4.8 Gb/s x 64 bits = 38.4 GB/s each: JEDEC JESD79-5"},
  "pj_per_bit": {"value": 12, "unit": "pJ/bit", "source": "public calibrations range from 9 to 16; unverified"},
  "static_w": {"value": 4.8, "unit": "W", "source": "our run of DRAMsim3: 600 mW standby and refresh a channel of DDR4-3200; 8 channels; that DDR5 needs the same: assumption, unverified"},
  "efficiency": {"value": 1, "unit": "1", "source": "assumption: peak. Our runs of DRAMsim3 reach 0.66 with DDR4 when streaming"}
}
})json";

}  // namespace mbs
