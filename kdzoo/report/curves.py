"""Section: what happened epoch by epoch."""

import math
from collections.abc import Callable, Sequence

from kdzoo.report.groups import Group
from kdzoo.report.plot import EVERYONE, Line, line_chart
from kdzoo.report.run import Epoch
from kdzoo.report.stats import spread

Value = Callable[[Epoch], float | None]


def curves(groups: Sequence[Group]) -> str:
    """Test accuracy large, then its second half, the losses with their terms, and the learning rate."""
    charts = [
        _chart("Test top-1 (%)", groups, lambda epoch: epoch.test_top1, wide=True),
        _second_half(groups),
        _chart("Training top-1 (%)", groups, lambda epoch: epoch.train_top1, "on augmented batches, during the epoch"),
        _chart("Test NLL (nats)", groups, lambda epoch: epoch.test_nll),
        _chart("Training loss", groups, lambda epoch: epoch.loss, "the weighted sum of all terms"),
        *_terms(groups),
        _learning_rate(groups),
    ]
    drawn = "".join(charts)
    if not drawn:
        return ""
    several = any(len(group.runs) > 1 for group in groups)
    band = "Lines are means over the seeds that reached the epoch, bands one sample standard deviation. "
    hint = "Point at a chart (or tap it) to read its values."
    return f'<p class="note">{band if several else ""}{hint}</p><div class="charts">{drawn}</div>'


def _lines(groups: Sequence[Group], value: Value, start: int = 0) -> list[Line]:
    """A line for every group that logged the value at or after epoch ``start``."""
    lines = []
    for slot, group in enumerate(groups):
        at: dict[int, list[float]] = {}
        for run in group.runs:
            for epoch in run.log:
                number = value(epoch)
                if number is not None and epoch.epoch >= start:
                    at.setdefault(epoch.epoch, []).append(number)
        points = [(epoch, spread(at[epoch])) for epoch in sorted(at)]
        if points:
            sd = [point.sd or 0.0 for _, point in points] if len(group.runs) > 1 else []
            lines.append(Line(group.name, slot, [epoch for epoch, _ in points], [p.mean for _, p in points], sd))
    return lines


def _chart(
    title: str, groups: Sequence[Group], value: Value, note: str = "", wide: bool = False, start: int = 0
) -> str:
    lines = _lines(groups, value, start)
    return line_chart(title, lines, note, wide) if lines else ""


def _second_half(groups: Sequence[Group]) -> str:
    """The end of the curve on its own scale: the climb from chance hides differences of a point."""
    last = max((run.log[-1].epoch for group in groups for run in group.runs if run.log), default=0)
    if last < 6:
        return ""
    return _chart("Test top-1, second half (%)", groups, lambda epoch: epoch.test_top1, start=last // 2 + 1)


def _terms(groups: Sequence[Group]) -> list[str]:
    """One chart a loss term; nothing where every run has a single term, which is the loss itself."""
    logged = [epoch.terms for group in groups for run in group.runs for epoch in run.log]
    if not any(len(terms) > 1 for terms in logged):
        return []
    names = list(dict.fromkeys(name for terms in logged for name in terms))
    note = "weighted, as it enters the sum"
    return [_chart(f"Loss term {name}", groups, lambda epoch, name=name: epoch.terms.get(name), note) for name in names]


def _learning_rate(groups: Sequence[Group]) -> str:
    """One line for all where all had the same schedule."""
    lines = _lines(groups, lambda epoch: epoch.lr)
    if len(lines) > 1 and all(_same(line, lines[0]) for line in lines):
        lines = [Line("all runs", EVERYONE, lines[0].epochs, lines[0].mean, [])]
    return line_chart("Learning rate", lines) if lines else ""


def _same(one: Line, other: Line) -> bool:
    """Whether two curves are equal but for rounding: a mean over three seeds is not bit for bit each of them."""
    return one.epochs == other.epochs and all(map(math.isclose, one.mean, other.mean))
