#!/usr/bin/env python3
"""Holds the traffic model against the cache misses of the real program (docs/cachecheck.md).

Trains resnet8 for a step or two under valgrind, in baseline and in MBS order, with a last-level cache of 8 MiB, and
prints misses x line size beside the bytes that the model counts for the same schedules. `make cachecheck` builds the
program that it wants and runs it. Exit code 1: a ratio left its band, or the program did not do what was counted.
"""

import argparse
import collections
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

ARCH = "resnet8"
BATCH = 512  # its smallest feature tensor, 8x8x64, has 8 MiB: nothing of a whole batch stays in the cache
CACHE_BYTES = 8 << 20
LINE_BYTES = 64
CACHES = ["--I1=32768,8,64", "--D1=32768,8,64", f"--LL={CACHE_BYTES},16,{LINE_BYTES}"]
BAND = 0.15

# What is run: order and the buffer that its sub-batches are planned for.
RUNS = {
    "baseline": ("baseline", CACHE_BYTES),
    "mbs2, whole cache": ("mbs2", CACHE_BYTES),
    "mbs2, quarter": ("mbs2", CACHE_BYTES // 4),
}
JUDGED = "mbs2, quarter"

ACCOUNTING = "fused,feature-bits=32"
NORM = "group_norm"

KINDS = ["conv2d", NORM, "relu", "add", "pad_shortcut", "others"]
Misses = collections.namedtuple("Misses", "reads writes write_backs")  # of cache lines


def fail(text):
    sys.exit(f"cachecheck: {text}")


def call(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        fail(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def profile(program, name, tool, steps):
    """Trains `steps` steps under a valgrind tool; the profile as text, and what `mbs compare` says of the run."""
    order, planned_bytes = RUNS[name]
    print(f"{name}: {steps} step(s) under {tool[0]} ...", file=sys.stderr, flush=True)
    # One thread, and matrix products without fused multiply-add, which valgrind computes in slow software.
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", OPENBLAS_CORETYPE="Sandybridge")
    with tempfile.TemporaryDirectory() as folder:
        # More images than are trained on, so that no epoch ends and nothing is validated
        command = ["valgrind", "-q", f"--tool={tool[0]}", "--cache-sim=yes", *CACHES, *tool[1:],
                   f"--{tool[0]}-out-file={folder}/%p", program, "compare", "--orders", order, "--steps", str(steps),
                   "--arch", ARCH, "--dataset", "synthetic", "--limit-train", str(4 * BATCH), "--aug", "none",
                   "--batch-size", str(BATCH), "--cores", "1", "--threads", "1", "--buffer", f"{planned_bytes}B",
                   "--accounting", ACCOUNTING, "--progress", "none", "--json"]
        report = json.loads(call(command, env=environment))["runs"][0]
        profiles = [open(os.path.join(folder, pid)).read() for pid in os.listdir(folder)]
    # `compare` trains in a process of its own; the parent only waits for it.
    return max(profiles, key=lambda text: totals(text)["Ir"]), report


def totals(text):
    """The sums of all events of a profile of cachegrind or callgrind."""
    names = re.search(r"^events: (.*)$", text, re.M).group(1).split()
    values = re.search(r"^summary: (.*)$", text, re.M).group(1).split()
    return dict(zip(names, map(int, values)))


def layer_misses(text):
    """{(kind, direction): Misses} from the calls of layers in a profile of callgrind, callees included."""
    events = re.search(r"^events: (.*)$", text, re.M).group(1).split()
    layer = re.compile(r"mbs::\(anonymous namespace\)::(\w+)::(forward|backward)\(mbs::(?:For|Back)ward const&\) const")
    names, sums = {}, collections.defaultdict(lambda: Misses(0, 0, 0))

    def resolve(entry):  # "(12) name" the first time, "(12)" later
        number, _, name = entry.partition(" ")
        return names.setdefault(number, name)

    caller = callee = ""
    after_calls = False
    for line in text.splitlines():
        if line.startswith("fn="):
            caller = resolve(line[3:])
        elif line.startswith("cfn="):
            callee = resolve(line[4:])
        elif line.startswith("calls="):
            after_calls = True
        elif after_calls:
            after_calls = False
            found = layer.match(callee)
            if found and caller.startswith("mbs::Executor::"):
                cost = collections.Counter(dict(zip(events, map(int, line.split()[1:]))))
                old = sums[kind_of(snake_case(found[1])), found[2]]
                sums[kind_of(snake_case(found[1])), found[2]] = Misses(
                    old.reads + cost["DLmr"], old.writes + cost["DLmw"], old.write_backs + cost["DLdmr"] + cost["DLdmw"])
    return sums


def snake_case(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def kind_of(layer):
    return layer if layer in KINDS else "others"


def model_layers(program, name, switches=""):
    """{(kind, direction): bytes} of a step, and the bytes of all layers."""
    order, planned_bytes = RUNS[name]
    rows = json.loads(call([program, "simulate", ARCH, "--configuration", order, "--batch-size", str(BATCH), "--buffer",
                            f"{planned_bytes}B", "--accounting", ACCOUNTING + switches, "--chip-cores", "1",
                            "--per-layer", "--json"]))
    sums = collections.Counter()
    for layer in rows[0]["layers"]:
        sums[kind_of(layer["spec"].split()[0]), layer["direction"]] += layer["dram_bytes"]
    return sums, rows[0]["dram_bytes"]


def second_sweep_bytes(program, name, model):
    """Bytes by which norms go over their operands a second time in the model. Without a policy of reuse, it reads the
    input of a norm twice forward, and that and the gradient of the output twice backward. Our kernels finish a sample,
    64 KiB an operand at most, before they begin the next one, so the second time finds it in the cache."""
    once, _ = model_layers(program, name, ",sweeps=1")
    return sum(model[NORM, direction] - once[NORM, direction] for direction in ("forward", "backward"))


def measure(program, name):
    """One run: what the model says, what the cache says, and both by kind of layer."""
    one, _ = profile(program, name, ["cachegrind"], 1)
    two, report = profile(program, name, ["cachegrind"], 2)
    # The second step less everything before it: start-up, synthetic images, and a cache that is cold.
    second = {event: count - totals(one)[event] for event, count in totals(two).items()}
    # The same cache model with a call graph and write-backs; only what the executor runs is collected.
    calls, _ = profile(program, name, ["callgrind", "--simulate-wb=yes", "--collect-atstart=no",
                                       "--toggle-collect=mbs::Executor::run*"], 1)
    layers = layer_misses(calls)
    model, simulated_bytes = model_layers(program, name)
    model_bytes = report["dram_bytes_per_step"]  # counted from the kernel calls of the real run
    if simulated_bytes != model_bytes:
        fail(f"{name}: `mbs simulate` counts {simulated_bytes} bytes, the real run counted {model_bytes}")
    kinds = [{"kind": kind, "direction": direction, "model_bytes": model[kind, direction],
              "read_miss_bytes": LINE_BYTES * layers[kind, direction].reads,
              "write_miss_bytes": LINE_BYTES * layers[kind, direction].writes,
              "write_back_bytes": LINE_BYTES * layers[kind, direction].write_backs}
             for direction in ("forward", "backward") for kind in KINDS
             if model[kind, direction] or any(layers[kind, direction])]
    return {"run": name, "order": RUNS[name][0], "planned_bytes": RUNS[name][1],
            "weights_hash": report["weights_hash"], "model_bytes": model_bytes,
            "one_sweep_bytes": model_bytes - second_sweep_bytes(program, name, model),
            "miss_bytes": LINE_BYTES * (second["DLmr"] + second["DLmw"]),
            "read_miss_bytes": LINE_BYTES * second["DLmr"], "layers": kinds}


def ratios(run, baseline):
    share = {key: run[key] / baseline[key] for key in ("model_bytes", "one_sweep_bytes", "miss_bytes")}
    return {"run": run["run"], "model": share["model_bytes"], "one_sweep": share["one_sweep_bytes"],
            "misses": share["miss_bytes"], "misses_over_model": share["miss_bytes"] / share["model_bytes"],
            "misses_over_one_sweep": share["miss_bytes"] / share["one_sweep_bytes"]}


def print_layers(run):
    print(f"\n{run['run']}, MB by kind of layer\n"
          f"  {'':22}{'model':>9}{'misses':>9}{'= read':>9}{'+ write':>9}{'write-backs':>13}")
    for row in run["layers"]:
        reads, writes = row["read_miss_bytes"], row["write_miss_bytes"]
        cells = [row["model_bytes"], reads + writes, reads, writes]
        print(f"  {row['kind'] + ' ' + row['direction']:22}" + "".join(f"{cell / 1e6:9.1f}" for cell in cells) +
              f"{row['write_back_bytes'] / 1e6:13.1f}")
    inside = sum(row["read_miss_bytes"] + row["write_miss_bytes"] for row in run["layers"])
    print(f"  {'outside of layers':22}{'':9}{(run['miss_bytes'] - inside) / 1e6:9.1f}")


def print_report(result):
    print(f"{ARCH}, batch {BATCH}, 32-bit features, fused counting; last-level cache {CACHE_BYTES >> 20} MiB, "
          f"{LINE_BYTES}-byte lines\n\nMB of a training step\n"
          f"  {'':22}{'model':>9}{'one sweep':>12}{'misses':>9}{'misses/model':>15}{'/one sweep':>12}")
    for run in result["runs"]:
        print(f"  {run['run']:22}{run['model_bytes'] / 1e6:9.1f}{run['one_sweep_bytes'] / 1e6:12.1f}"
              f"{run['miss_bytes'] / 1e6:9.1f}{run['miss_bytes'] / run['model_bytes']:15.2f}"
              f"{run['miss_bytes'] / run['one_sweep_bytes']:12.2f}")
    print("share of baseline")
    for row in result["ratios"]:
        print(f"  {row['run']:22}{row['model']:9.3f}{row['one_sweep']:12.3f}{row['misses']:9.3f}"
              f"{row['misses_over_model']:15.2f}{row['misses_over_one_sweep']:12.2f}")
    for run in result["runs"]:
        print_layers(run)
    judged = next(row for row in result["ratios"] if row["run"] == JUDGED)
    off = judged["misses_over_one_sweep"] - 1
    print(f"\n{'ok' if result['within_band'] else 'FAILED'}: {JUDGED}, norms read once: the ratio of misses is "
          f"{off:+.1%} off the ratio of the model (band {BAND:.0%})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="mbs, built as `make cachecheck` does")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        fail("valgrind is missing: ./setup.sh valgrind (or apt-get install valgrind)")

    runs = [measure(options.program, name) for name in RUNS]
    if len({run["weights_hash"] for run in runs}) != 1:
        fail("the orders do not train the same weights")
    shares = [ratios(run, runs[0]) for run in runs[1:]]
    judged = next(row for row in shares if row["run"] == JUDGED)
    result = {"network": ARCH, "batch": BATCH, "cache_bytes": CACHE_BYTES, "line_bytes": LINE_BYTES, "band": BAND,
              "runs": runs, "ratios": shares, "judged": JUDGED,
              "within_band": abs(judged["misses_over_one_sweep"] - 1) <= BAND}
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print_report(result)
    sys.exit(0 if result["within_band"] else 1)


if __name__ == "__main__":
    main()
