"""Runs one setting in a process of its own, and tells what else the processors did meanwhile."""

import dataclasses
import functools
import json
import os
import subprocess
import tempfile
import time

from rows import MBS, SECONDS, SPEED, network_options

FOREIGN_LIMIT = 0.06  # share of all processors that others may take before a measurement counts as disturbed
TRIES = 3
QUIET_WAIT_SECONDS = 4
TIMEOUT_SECONDS = 1800


class Failed(Exception):
    """A measurement that gave no figure: says which command, and what it wrote."""


@dataclasses.dataclass
class Measurement:
    """What a process printed, and the shares of all processors' time that others and the hypervisor took from it."""

    output: dict
    foreign: float = 0.0
    steal: float = 0.0
    wall_seconds: float = 0.0
    tries: int = 1

    @property
    def disturbed(self):
        return self.foreign > FOREIGN_LIMIT


def busy_and_stolen_seconds():
    """Of all processors together, since the machine was started."""
    with open("/proc/stat") as stat:
        user, nice, system, _, _, irq, softirq, steal = (int(field) for field in stat.readline().split()[1:9])
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / ticks, steal / ticks


def wait_for_quiet():
    """Waits until others leave the processors alone for half a second, but not for long."""
    for _ in range(int(QUIET_WAIT_SECONDS / 0.5)):
        before, _ = busy_and_stolen_seconds()
        time.sleep(0.5)
        if busy_and_stolen_seconds()[0] - before < 0.5 * os.cpu_count() * FOREIGN_LIMIT:
            return


def run_once(command, environment, stdin_text=""):
    """A Measurement of one run of the command. Failed: it cannot be started, fails, or prints no JSON object."""
    with tempfile.TemporaryFile("w+") as stdin, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        stdin.write(stdin_text)
        stdin.seek(0)
        (busy, stolen), start = busy_and_stolen_seconds(), time.monotonic()
        own_before = sum(os.times()[2:4])  # of ended children
        try:
            code = subprocess.run(command, stdin=stdin, stdout=out, stderr=err, env=environment,
                                  timeout=TIMEOUT_SECONDS, check=False).returncode
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Failed(f"`{' '.join(command)}`: {error}") from error
        wall = time.monotonic() - start
        busy_after, stolen_after = busy_and_stolen_seconds()
        own = sum(os.times()[2:4]) - own_before
        out.seek(0)
        err.seek(0)
        text, errors = out.read(), err.read()
    try:
        output = json.loads(text) if code == 0 else None
    except ValueError:
        output = None
    if not isinstance(output, dict):
        raise Failed(f"`{' '.join(command)}` ended with {code} and gave no JSON object:\n{(errors + text)[-2000:].strip()}")
    whole = wall * os.cpu_count()
    return Measurement(output, max(0.0, (busy_after - busy - own) / whole), (stolen_after - stolen) / whole, wall)


def least_disturbed(run, wait=wait_for_quiet):
    """The least disturbed of up to TRIES Measurements that run() makes; the first undisturbed one ends it."""
    best = None
    for tries in range(1, TRIES + 1):
        wait()
        found = run()
        if best is None or found.foreign < best.foreign:
            best = found
        best.tries = tries
        if not best.disturbed:
            break
    return best


def figures(output):
    """The object with the figures: what a peer printed, or the one row of `mbs bench step`."""
    rows = output.get("rows", [output])
    if len(rows) != 1:
        raise Failed(f"expected one row of `mbs bench step`, found {len(rows)}")
    if not rows[0].get(SPEED, 0) > 0:
        raise Failed(f"no {SPEED} in {json.dumps(rows[0])[:500]}")
    return rows[0]


def measure(setting, seconds):
    """A Measurement of a setting; its output are the figures. Failed: as run_once(), or a figure is missing."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(setting.threads)}
    command = [word.replace(SECONDS, str(seconds)) for word in setting.command]
    stdin_text = ""
    if setting.stdin_command:
        stdin_text = json.dumps(run_once(list(setting.stdin_command), environment).output)
    found = least_disturbed(lambda: run_once(command, environment, stdin_text))
    found.output = figures(found.output)
    return found


@functools.lru_cache(maxsize=None)
def our_parameters(network, norm):
    """How many parameters a network has, from the bytes of weights that `mbs plan` tells."""
    plan = run_once([MBS, "plan", network.arch, "--order", "baseline", "--norm", norm, "--classes", "10",
                     *network_options(network), "--json"], dict(os.environ)).output
    return sum(group["weight_bytes"] for group in plan["groups"]) * 8 // plan["feature_bits"]


def check_parameters(setting, output, ours=our_parameters):
    """Failed: a rival trains another network than we do."""
    if setting.norm and output.get("parameters") != ours(setting.network, setting.norm):
        raise Failed(f"{setting}: {output.get('parameters')} parameters, ours has {ours(setting.network, setting.norm)}; "
                     "it is not the same network")
