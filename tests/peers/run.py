#!/usr/bin/env python3
"""Training steps of mbs beside those of PyTorch, oneDNN and dlib, alternated in one run: the table of ratios that
docs/performance.md quotes. `make bench-peers` installs and builds what this needs.

Every measurement is a process of its own. Ours is measured again before every second rival setting, round after round;
a figure is the median of its measurements, and a rival counts with the best of its settings. A measurement during which
other processes took more than 6 % of the processors is repeated, up to three times, and the least disturbed counts. Exit
code 1: a row could not be measured. A missed target is told and is no error.

examples:
  make bench-peers
  make bench-peers PEERS='--only resnet20 --rounds 5 --json build/bench/peers.json'
  tests/peers/run.py --list
"""

import argparse
import csv
import json
import os
import re
import sys
import time

from measuring import Failed, check_parameters, measure
from rows import MBS, MEMORY, PACKAGES, all_rows, is_missing
from verdicts import Sample, Verdict, judge, table_text, to_json


def say(text):
    print(text, file=sys.stderr, flush=True)


def sequence(row):
    """The settings of one round: all of ours before every second rival."""
    if row.ours == row.rivals:
        return list(row.ours)
    order = []
    for number, rival in enumerate(row.rivals):
        if number % 2 == 0:
            order += row.ours
        order.append(rival)
    return order


def make_plan(rows, rounds):
    """[(row, round, setting)]: row after row. Memory does not depend on what else runs, so that what any row has
    measured of it is not measured again."""
    plan, planned = [], set()
    for row in sorted(rows, key=lambda row: row.quantity == MEMORY):
        if row.quantity == MEMORY:
            plan += [(row, 1, setting) for setting in row.settings if setting not in planned]
        else:
            plan += [(row, number, setting) for number in range(1, rounds + 1) for setting in sequence(row)]
        planned.update(row.settings)
    return plan


class Clock:
    """Guesses how long the rest takes: what a setting took last, or the mean of all so far."""

    def __init__(self):
        self.took = {}

    def note(self, setting, seconds):
        self.took[setting] = seconds

    def minutes_left(self, plan):
        mean = sum(self.took.values()) / max(1, len(self.took))
        return sum(self.took.get(setting, mean) for _, _, setting in plan) / 60


def take_measurements(plan, seconds, measure_setting, errors):
    """[(row, setting, Sample)] of the whole plan. A failure becomes the error of its row, the rest of which is left out."""
    taken, clock = [], Clock()
    try:
        for done, (row, number, setting) in enumerate(plan):
            if row.name in errors:
                continue
            start = time.monotonic()
            try:
                found = measure_setting(setting, seconds)
                check_parameters(setting, found.output)
                taken.append((row, setting, Sample(number, found)))
                figure = (f"{found.output['images_per_second']:.4g} images/s, others {found.foreign:.1%}, steal "
                          f"{found.steal:.1%}" + (f", {found.tries} tries" if found.tries > 1 else ""))
            except Failed as error:
                errors[row.name] = figure = f"{setting}: {error}"
            clock.note(setting, time.monotonic() - start)
            say(f"[{done + 1}/{len(plan)}] round {number}: {setting}: {figure}; "
                f"about {clock.minutes_left(plan[done + 1:]):.0f} min left")
    except KeyboardInterrupt:
        say("interrupted: the rows that are complete follow")
        errors[None] = "interrupted"
    return taken


def samples_of(row, taken):
    """{setting: [Sample]} of a row: of its own measurements; of all where it is about memory."""
    samples = {setting: [] for setting in row.settings}
    for owner, setting, sample in taken:
        if setting in samples and (owner is row or row.quantity == MEMORY):
            samples[setting].append(sample)
    return samples


def verdict_of(row, taken, errors):
    if row.name in errors:
        return Verdict(row, "error", errors[row.name])
    samples = samples_of(row, taken)
    if not all(samples.values()):
        return Verdict(row, "interrupted" if None in errors else "error", "not everything was measured")
    return judge(row, samples)


def rows_to_skip(rows, missing):
    """{name of a row: why}: rows with a peer that is not there."""
    peers = {setting.peer for row in rows for setting in row.settings}
    absent = {peer for peer in PACKAGES if peer in peers and missing(peer)}
    return {row.name: f"{setting.peer} is missing: ./setup.sh {PACKAGES[setting.peer]}, then make bench-peers"
            for row in rows for setting in row.settings if setting.peer in absent}


def bench(rows, rounds, seconds, measure_setting=measure, missing=is_missing):
    """The Verdict of every row, and all measurements as they were taken."""
    skipped = rows_to_skip(rows, missing)
    plan = make_plan([row for row in rows if row.name not in skipped], rounds)
    errors = {}  # of rows, by name; None: the user has interrupted
    taken = take_measurements(plan, seconds, measure_setting, errors)
    verdicts = [Verdict(row, "skipped", skipped[row.name]) if row.name in skipped else verdict_of(row, taken, errors)
                for row in rows]
    return verdicts, taken


def exit_code(verdicts):
    states = {verdict.state for verdict in verdicts}
    return 130 if "interrupted" in states else 1 if "error" in states else 0


def processor():
    with open("/proc/cpuinfo") as info:
        return next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown")


def write_json(path, options, verdicts, taken):
    measurements = [{"row": row.name, "round": sample.round, "setting": str(setting), "command": setting.command,
                     "threads": setting.threads, **vars(sample.measurement)} for row, setting, sample in taken]
    report = {"date": time.strftime("%Y-%m-%d"), "processor": processor(), "processors": os.cpu_count(),
              "rounds": options.rounds, "seconds": options.seconds,
              "rows": [to_json(verdict) for verdict in verdicts], "measurements": measurements}
    with open(path, "w") as file:
        json.dump(report, file, indent=2)
        file.write("\n")


def write_csv(path, verdicts):
    rows = [to_json(verdict) for verdict in verdicts]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def writable(path):
    """The path of a file, with its folder made: better now than after an hour."""
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "a"):
            return path
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def whole_number(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="REGEX", default="", help="rows whose name this finds, in any case")
    parser.add_argument("--rounds", type=whole_number, default=3, help="default: %(default)s")
    parser.add_argument("--seconds", type=whole_number, default=3,
                        help="of one measurement, about; default: %(default)s")
    parser.add_argument("--json", metavar="FILE", type=writable, help="write rows and every measurement to a file")
    parser.add_argument("--csv", metavar="FILE", type=writable, help="write the table to a file")
    parser.add_argument("--list", action="store_true", help="print what would be measured, and measure nothing")
    parser.add_argument("--self-test", action="store_true", help="hold the arithmetic against made-up measurements")
    return parser, parser.parse_args()


def main():
    parser, options = parse_arguments()
    if options.self_test:
        import self_test  # which imports this file
        sys.exit(self_test.main())
    try:
        rows = [row for row in all_rows() if re.search(options.only, row.name, re.IGNORECASE)]
    except re.error as error:
        parser.error(f"--only {options.only}: {error}")
    if not rows:
        parser.error(f"--only {options.only} finds no row; --list names them")
    if options.list:
        for row in rows:
            print(row.name)
            print("".join(f"    {setting}\n" for setting in row.settings), end="")
        return
    if not os.path.exists(MBS):
        sys.exit(f"run.py: {MBS} is missing: make all")
    verdicts, taken = bench(rows, options.rounds, options.seconds)
    print(table_text(verdicts))
    if options.json:
        write_json(options.json, options, verdicts, taken)
    if options.csv:
        write_csv(options.csv, verdicts)
    for verdict in verdicts:
        if verdict.state == "error":
            say(f"\nrun.py: {verdict.row.name}: {verdict.reason}")
    sys.exit(exit_code(verdicts))


if __name__ == "__main__":
    main()
