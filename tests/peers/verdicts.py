"""From measurements to the table: medians, the best rival, the ratio, and whether it is what was asked for."""

import dataclasses
import statistics

from rows import MEMORY


@dataclasses.dataclass
class Sample:
    """One measurement of a setting, and the round that it was taken in."""

    round: int
    measurement: object


@dataclasses.dataclass
class Verdict:
    """One row of the table, with figures where it was measured and the reason where it was not."""

    row: object
    state: str  # met, missed, error, skipped or interrupted
    reason: str = ""
    our_setting: str = ""
    ours: float = 0.0
    rival_setting: str = ""
    rival: float = 0.0
    ratio: float = 0.0
    lowest: float = 0.0  # ratio of a round
    highest: float = 0.0
    measurements: int = 0
    disturbed: int = 0  # of them: those that stayed above the limit of foreign load


def median(samples, quantity):
    return statistics.median(sample.measurement.output[quantity] for sample in samples)


def pick(settings, samples, quantity, best):
    """The setting whose median is the best, or the worst: more is better, except of memory."""
    highest = best == (quantity != MEMORY)
    return (max if highest else min)(settings, key=lambda setting: median(samples[setting], quantity))


def ratios_of_rounds(ours, rival, quantity):
    """Ratio within each round that has measurements of both."""
    ratios = []
    for number in sorted({sample.round for sample in ours} & {sample.round for sample in rival}):
        mine, theirs = ([s for s in samples if s.round == number] for samples in (ours, rival))
        ratios.append(median(mine, quantity) / median(theirs, quantity))
    return ratios


def judge(row, samples):
    """The Verdict of a row whose settings all have samples: {setting: [Sample]}."""
    ours = pick(row.ours, samples, row.quantity, best=False)
    rival = pick(row.rivals, samples, row.quantity, best=True)
    our_value, rival_value = (median(samples[setting], row.quantity) for setting in (ours, rival))
    ratio = our_value / rival_value
    met = ratio <= row.asked if row.quantity == MEMORY else ratio >= row.asked
    rounds = ratios_of_rounds(samples[ours], samples[rival], row.quantity) or [ratio]
    disturbed = [sample.measurement.disturbed for setting in row.settings for sample in samples[setting]]
    return Verdict(row, "met" if met else "missed", "", str(ours), our_value, str(rival), rival_value, ratio,
                   min(rounds), max(rounds), len(disturbed), sum(disturbed))


HEAD = ["what", "ours", "rival", "ratio", "of a round", "asked", "", "best rival"]


def value_text(value, quantity):
    return f"{value / 2**20:.0f} MiB" if quantity == MEMORY else f"{value:.4g} images/s"


def cells(verdict):
    row = verdict.row
    sign = "<=" if row.quantity == MEMORY else ">="
    asked = f"{sign} {row.asked:.3g}" + (" (aim)" if row.aim else "")
    if not verdict.ours:
        return [row.name, "", "", "", "", asked, verdict.state, verdict.reason.split("\n")[0]]
    state = verdict.state
    if verdict.disturbed:
        state += f", {verdict.disturbed} of {verdict.measurements} disturbed"
    return [row.name, value_text(verdict.ours, row.quantity), value_text(verdict.rival, row.quantity),
            f"{verdict.ratio:.3f}", f"{verdict.lowest:.3f}-{verdict.highest:.3f}", asked, state, verdict.rival_setting]


def table_text(verdicts):
    """A table that reads as text and is Markdown."""
    lines = [HEAD] + [cells(verdict) for verdict in verdicts]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(HEAD))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(f"{cell:{width}}" for cell, width in zip(line, widths)) + " |" for line in lines)


def to_json(verdict):
    row = verdict.row
    fields = {field.name: getattr(verdict, field.name) for field in dataclasses.fields(verdict) if field.name != "row"}
    return {"what": row.name, "quantity": row.quantity, "asked": row.asked, "aim": row.aim, **fields}
