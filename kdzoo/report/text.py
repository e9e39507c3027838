"""The table for the terminal."""

from collections.abc import Sequence

from kdzoo.report.groups import Group
from kdzoo.report.stats import gains, spread
from kdzoo.report.words import NOTHING, count, duration, gain_in_words

HEADINGS = ("run", "network", "parameters", "seeds", "last top-1 %", "NLL", "ECE %", "time")
LEFT = ("run", "network")


def text_table(groups: Sequence[Group]) -> str:
    """A plain table, a line a group: mean and sample deviation over the seeds that finished.

    Below it a line for every distilled student that can be compared with the same network
    trained alone, and one for every run that is unfinished or damaged.

    Example:
        >>> print(text_table(read_groups(["work_dirs/quickstart"])))
    """
    rows = [HEADINGS] + [_row(group) for group in groups]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if heading in LEFT else cell.rjust(width)
            for heading, cell, width in zip(HEADINGS, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    lines += [f"{gain.distilled.name} minus {gain.alone.name}: {gain_in_words(gain)}" for gain in gains(groups)]
    lines += notes(groups)
    return "\n".join(lines)


def notes(groups: Sequence[Group]) -> list[str]:
    """What a reader must know of single runs: ``"alone/seed1: unfinished, epoch 7 of 15"``."""
    found = []
    for group in groups:
        for run in group.runs:
            said = ([] if run.finished or not run.trained else [run.status]) + run.problems
            found += [f"{group.label(run)}: {text}" for text in said]
    return found


def _row(group: Group) -> tuple[str, ...]:
    done = group.finished
    seeds = str(len(done)) if len(done) == len(group.runs) else f"{len(done)} of {len(group.runs)}"
    if not any(run.trained for run in group.runs):
        seeds = "evaluated only"
    scores = [(spread(getattr(run.last, name) for run in done), digits) for name, digits in _SCORES]
    time = spread(run.seconds for run in done)
    return (
        group.name,
        group.first.network or NOTHING,
        count(group.first.parameters),
        seeds,
        *(NOTHING if score is None else score.text(digits) for score, digits in scores),
        duration(time.mean if time else None),
    )


_SCORES = (("top1", 2), ("nll", 3), ("ece", 2))
