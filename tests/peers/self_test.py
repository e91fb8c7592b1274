"""Holds run.py against made-up measurements: the arithmetic, and that it tells a missed target, a wrong network, a peer
that is missing or fails, and a disturbed measurement. `tests/peers/run.py --self-test`."""

import contextlib
import io
import sys
import unittest

import measuring
import run
from rows import MEMORY, Network, Row, Setting, all_rows
from verdicts import table_text

TINY = Network("resnet20", 4, "cifar", 32)


def setting(peer, name, norm=""):
    return Setting(peer, name, TINY, ("true",), norm=norm)


OURS, FAST, SLOW = setting("mbs", "mbs2"), setting("PyTorch", "fast"), setting("PyTorch", "slow")


def bench(row, figures, missing=lambda peer: False, rounds=3, foreign=0.0):
    """The verdict of one row and its measurements. `figures`: {setting: [of each call in turn]}; a text is a failure."""
    calls = {key: iter(values) for key, values in figures.items()}

    def measure(asked, _):
        value = next(calls[asked])
        if isinstance(value, str):
            raise measuring.Failed(value)
        output = value if isinstance(value, dict) else {"images_per_second": value}
        return measuring.Measurement(output, foreign)

    with contextlib.redirect_stderr(io.StringIO()):
        verdicts, taken = run.bench([row], rounds, 1, measure, missing)
    return verdicts[0], taken


class Verdicts(unittest.TestCase):
    ROW = Row("speed", (OURS,), (FAST, SLOW), 1.5)

    def test_median_against_the_best_rival(self):
        # The median of ours is 160; a single 900 of the slow rival does not make it the best one.
        verdict, _ = bench(self.ROW, {OURS: [160, 10, 500], FAST: [100, 101, 99], SLOW: [50, 900, 52]})
        self.assertEqual((verdict.ours, verdict.rival, verdict.rival_setting), (160, 100, str(FAST)))
        self.assertEqual((verdict.ratio, verdict.state), (1.6, "met"))
        self.assertEqual((verdict.lowest, verdict.highest), (10 / 101, 500 / 99))

    def test_a_missed_target_is_told(self):
        verdict, _ = bench(self.ROW, {OURS: [149] * 3, FAST: [100] * 3, SLOW: [50] * 3})
        self.assertEqual(verdict.state, "missed")
        self.assertIn("missed", table_text([verdict]))
        self.assertEqual(run.exit_code([verdict]), 0)
        verdict, _ = bench(self.ROW, {OURS: [150] * 3, FAST: [100] * 3, SLOW: [50] * 3})
        self.assertEqual(verdict.state, "met")

    def test_disturbed_figures_are_told(self):
        figures = {OURS: [150] * 2, FAST: [100] * 2, SLOW: [50] * 2}
        verdict, _ = bench(self.ROW, figures, rounds=2, foreign=0.07)
        self.assertIn("met, 6 of 6 disturbed", table_text([verdict]))
        verdict, _ = bench(self.ROW, figures, rounds=2, foreign=0.05)
        self.assertNotIn("disturbed", table_text([verdict]))

    def test_less_memory_is_better(self):
        row = Row("memory", (OURS,), (FAST, SLOW), 0.5, MEMORY)

        def of(megabytes):
            return [{"images_per_second": 1, "peak_rss_bytes": megabytes << 20}]
        verdict, taken = bench(row, {OURS: of(100), FAST: of(250), SLOW: of(200)})
        self.assertEqual((verdict.ratio, verdict.rival_setting, verdict.state), (0.5, str(SLOW), "met"))
        self.assertEqual(len(taken), 3)  # once, whatever the rounds
        verdict, _ = bench(row, {OURS: of(101), FAST: of(250), SLOW: of(200)})
        self.assertEqual(verdict.state, "missed")

    def test_slowest_of_ours_against_the_fastest(self):
        both = (OURS, setting("mbs", "other batch"))
        row = Row("flat", both, both, 0.95)
        verdict, _ = bench(row, {both[0]: [100] * 3, both[1]: [90] * 3})
        self.assertEqual((verdict.ratio, verdict.state), (0.9, "missed"))


class Process(unittest.TestCase):
    def test_rivals_are_alternated_with_ours(self):
        third = setting("PyTorch", "third")
        order = [s for _, _, s in run.make_plan([Row("speed", (OURS,), (FAST, SLOW, third), 1.5)], 1)]
        self.assertEqual(order, [OURS, FAST, SLOW, OURS, third])

    def test_memory_is_not_measured_again(self):
        rows = [Row("memory", (OURS,), (FAST,), 0.5, MEMORY), Row("speed", (OURS,), (FAST,), 1.5)]
        self.assertEqual([row.name for row, _, _ in run.make_plan(rows, 2)], ["speed"] * 4)

    def test_missing_peer_skips_the_row(self):
        verdict, taken = bench(Verdicts.ROW, {}, missing=lambda peer: peer == "PyTorch")
        self.assertEqual((verdict.state, taken, run.exit_code([verdict])), ("skipped", [], 0))
        self.assertIn("python3-torch", verdict.reason)

    def test_failure_is_an_error(self):
        verdict, _ = bench(Verdicts.ROW, {OURS: [1], FAST: ["no such option"], SLOW: []})
        self.assertEqual((verdict.state, run.exit_code([verdict])), ("error", 1))
        self.assertIn("no such option", verdict.reason)

    def test_another_network_is_an_error(self):
        witness = setting("PyTorch", "x", norm="gn")
        measuring.check_parameters(witness, {"parameters": 7}, ours=lambda network, norm: 7)
        for output in ({"parameters": 8}, {}):
            with self.assertRaisesRegex(measuring.Failed, "not the same network"):
                measuring.check_parameters(witness, output, ours=lambda network, norm: 7)

    def test_every_witness_is_asked_for(self):
        for row in all_rows():
            for asked in row.settings:
                self.assertEqual(asked.norm != "", asked.peer in ("PyTorch", "dlib"), asked)

    def test_disturbed_measurements_are_repeated(self):
        def tried(*shares):
            runs = iter(shares)
            return measuring.least_disturbed(lambda: measuring.Measurement({}, next(runs)), wait=lambda: None)
        self.assertEqual((tried(0.5, 0.01, 0.3).foreign, tried(0.5, 0.01, 0.3).tries), (0.01, 2))
        least = tried(0.5, 0.2, 0.3, 0.0)
        self.assertEqual((least.foreign, least.tries, least.disturbed), (0.2, 3, True))

    def test_processes(self):
        def output_of(script, text=""):
            return measuring.run_once([sys.executable, "-c", script], {}, text)
        self.assertEqual(output_of("print('{\"a\": 1}')").output, {"a": 1})
        self.assertEqual(output_of("import sys; print(sys.stdin.read())", '{"b": 2}').output, {"b": 2})
        for script in ("print('{}'); exit(3)", "print('no JSON')", "print('[1]')"):
            with self.assertRaises(measuring.Failed):
                output_of(script)
        with self.assertRaises(measuring.Failed):
            measuring.run_once(["/no/such/program"], {})

    def test_figures(self):
        row = {"images_per_second": 3.0}
        self.assertEqual(measuring.figures({"rows": [row]}), row)
        self.assertEqual(measuring.figures(row), row)
        for output in ({"rows": []}, {"rows": [row, row]}, {"images_per_second": 0}, {}):
            with self.assertRaises(measuring.Failed):
                measuring.figures(output)


def main():
    """0 if all is well; else what is wrong is on the error stream."""
    told = io.StringIO()
    tests = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    result = unittest.TextTestRunner(stream=told).run(tests)
    if not result.wasSuccessful():
        print(told.getvalue(), file=sys.stderr)
        return 1
    print(f"self-test: {result.testsRun} tests passed")
    return 0
