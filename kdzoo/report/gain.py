"""What the teacher was good for: sentences for one or two distilled students, a table for more."""

from collections.abc import Sequence
from html import escape

from kdzoo.report.stats import Gain, spread
from kdzoo.report.words import NOTHING, gain_in_words

SENTENCES = 2  # up to so many gains are told in sentences


def verdicts(found: Sequence[Gain]) -> str:
    """A headline and a sentence for each gain; nothing where there are too many for that."""
    return "".join(_verdict(gain) for gain in found) if len(found) <= SENTENCES else ""


def gain_table(found: Sequence[Gain]) -> str:
    """A line for each gain with its interval drawn around zero; nothing where sentences tell it."""
    if len(found) <= SENTENCES:
        return ""
    ends = [0.0] + [end for gain in found for end in (gain.interval or (gain.spread.mean,) * 2)]
    heads = ("Run", "Against", "Points gained", "95 % interval", "", "Better in")
    heading = "".join(f"<th scope=col>{name}</th>" for name in heads)
    rows = "".join(_row(gain, min(ends), max(ends)) for gain in found)
    return (
        "<h3>Gain over the same network trained without a teacher</h3>"
        f"<div class=scroll><table class=gains><thead><tr>{heading}</tr></thead><tbody>{rows}</tbody></table></div>"
        "<p class=note>Differences of the last top-1, seed by seed; the interval is Student's t over the seeds, "
        "the vertical line is no difference.</p>"
    )


def _verdict(gain: Gain) -> str:
    points, interval = gain.spread.mean, gain.interval
    ours, theirs = escape(gain.distilled.name), escape(gain.alone.name)
    if interval is None:
        head = f"{ours}: {points:+.2f} points against training without a teacher, in one seed"
    elif interval[0] <= 0 <= interval[1]:
        head = f"{ours} shows no clear difference from training without a teacher"
    else:
        head = f"{ours} {'gains' if points > 0 else 'loses'} {abs(points):.2f} points over training without a teacher"
    reached, rival = (spread(run.last.top1 for run in group.finished) for group in (gain.distilled, gain.alone))
    taught = spread(run.teacher_top1 for run in gain.distilled.finished)
    teacher = f", the teacher ({escape(gain.distilled.first.teacher)}) {taught.text()} %" if taught else ""
    return (
        f"<p class=verdict><strong>{head}.</strong> {ours} reaches {reached.text()} % top-1 on the test set, "
        f"{theirs} {rival.text()} %{teacher}. The difference to {theirs} is {gain_in_words(gain)}.</p>"
    )


def _row(gain: Gain, low: float, high: float) -> str:
    interval = gain.interval
    cells = [
        f"<b>{escape(gain.distilled.name)}</b>",
        escape(gain.alone.name),
        f"{gain.spread.mean:+.2f}" + (f" ± {gain.spread.sd:.2f}" if gain.spread.sd is not None else ""),
        f"{interval[0]:+.2f} to {interval[1]:+.2f}" if interval else NOTHING,
        _drawn(gain, low, high),
        f"{gain.wins} of {gain.spread.n}",
    ]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _drawn(gain: Gain, low: float, high: float) -> str:
    """Zero as a line, the mean as a dot, the interval as a bar, all on the scale from ``low`` to ``high``."""

    def place(value: float) -> float:
        return 100 * (value - low) / (high - low) if high > low else 50.0

    bar = ""
    if gain.interval:
        start, end = map(place, gain.interval)
        bar = f'<u style="left:{start:.1f}%;width:{end - start:.1f}%"></u>'
    zero, mean = place(0), place(gain.spread.mean)
    return f'<span class=forest><s style="left:{zero:.1f}%"></s>{bar}<i style="left:{mean:.1f}%"></i></span>'
