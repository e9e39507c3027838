"""Section: the result in plain words and one line a group."""

from collections.abc import Sequence
from html import escape

from kdzoo.report.cell import cell
from kdzoo.report.gain import gain_table, verdicts
from kdzoo.report.groups import Group
from kdzoo.report.plot import swatch
from kdzoo.report.stats import Spread, gains, spread
from kdzoo.report.text import notes
from kdzoo.report.words import NOTHING, count, duration, losses_in_words


def summary(groups: Sequence[Group]) -> str:
    """The verdict, the table, its footnotes, and what is unfinished or damaged."""
    found = gains(groups)
    tops = [run.last.top1 for group in groups for run in group.finished if run.last.top1 is not None]
    low, high = (min(tops), max(tops)) if tops else (0.0, 0.0)
    heading = "".join(f"<th scope=col>{name}</th>" for name, _ in _COLUMNS)
    rows = "".join(_row(slot, group, low, high) for slot, group in enumerate(groups))
    foot = []
    if any(run.trained for group in groups for run in group.runs):
        foot += ["Top-1, top-5 and ECE in percent, NLL in nats, all on the test set after the last epoch."]
    if any(len(group.finished) > 1 for group in groups):
        foot.append("Mean ± sample standard deviation over the finished seeds.")
    if len(tops) > 1 and high > low:
        foot.append(f"Each dot is one seed, on one scale from {low:.2f} to {high:.2f}.")
    if tops:
        foot += ["† The best epoch was chosen on the test set, so this number is optimistic: compare by the last one."]
    warned = "".join(f"<li>{escape(note)}</li>" for note in notes(groups))
    return (
        f"{verdicts(found)}<div class=scroll><table class=summary><thead><tr>{heading}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div><p class=note>{'<br>'.join(foot)}</p>{gain_table(found)}"
        + (f"<ul class=warned>{warned}</ul>" if warned else "")
    )


def _row(slot: int, group: Group, low: float, high: float) -> str:
    cells = []
    for name, column in _COLUMNS:
        content = column(group)
        if name == "Run":
            content = swatch(slot) + content
        elif name == "Last top-1":
            content = f"<span class=main>{content}</span>{_dots(slot, group, low, high)}"
        cells.append(cell(name, content))
    return f"<tr>{''.join(cells)}</tr>"


def _name(group: Group) -> str:
    unfinished = [run for run in group.runs if not run.finished]
    badge = ""
    if unfinished:
        said = unfinished[0].status if len(group.runs) == 1 else f"{len(unfinished)} of {len(group.runs)} unfinished"
        badge = f"<br><span class=badge>{said}</span>"
    return f"<span><b>{escape(group.name)}</b>{badge}</span>"


def _network(group: Group) -> str:
    parameters = group.first.parameters
    under = f"<small>{count(parameters)}</small>" if parameters is not None else ""
    return escape(group.first.network or NOTHING) + under


def _teacher(group: Group) -> str:
    if not group.first.teacher:
        return "<span class=muted>none</span>"
    top1 = spread(run.teacher_top1 for run in group.runs)
    return escape(group.first.teacher) + (f"<small>{top1.text()} %</small>" if top1 else "")


def _epochs(group: Group) -> str:
    return NOTHING if group.first.epochs is None else str(group.first.epochs)


def _seeds(group: Group) -> str:
    done, total = len(group.finished), len(group.runs)
    if not any(run.trained for run in group.runs):
        return NOTHING
    seeds = sorted(run.seed for run in group.runs if run.seed is not None)
    if len(seeds) > 1 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        under = f"{seeds[0]} to {seeds[-1]}"
    else:
        under = ", ".join(map(str, seeds)) if total > 1 else f"seed {seeds[0]}" if seeds else ""
    return (str(done) if done == total else f"{done} of {total}") + f"<small>{under}</small>"


def _time(group: Group) -> str:
    time = spread(run.seconds for run in group.finished or group.runs)
    under = ", ".join(part for part in (group.first.device, group.first.precision) if part)
    return duration(time.mean if time else None) + (f"<small>{escape(under)}</small>" if under else "")


def _score(which: str, name: str, digits: int = 2):
    """A column of ``run.last`` or ``run.best``."""
    return lambda group: _spread(spread(getattr(getattr(run, which), name) for run in group.finished), digits)


def _spread(value: Spread | None, digits: int) -> str:
    if value is None:
        return NOTHING
    deviation = "" if value.sd is None else f"<span class=sd> ± {value.sd:.{digits}f}</span>"
    return f"<span class=num>{value.mean:.{digits}f}</span>{deviation}"


def _dots(slot: int, group: Group, low: float, high: float) -> str:
    """One dot a seed, on the scale all groups share."""
    tops = [(run.seed, run.last.top1) for run in group.finished if run.last.top1 is not None]
    if not tops or not high > low:
        return ""
    places = [(f"seed {seed}: {top1:.2f} %", 100 * (top1 - low) / (high - low)) for seed, top1 in tops]
    dots = "".join(f'<i style="left:{place:.1f}%" title="{title}"></i>' for title, place in places)
    return f'<span class=dots style="--c:var(--s{slot % 8})">{dots}</span>'


_COLUMNS = (
    ("Run", _name),
    ("Network, parameters", _network),
    ("Teacher", _teacher),
    ("Losses", lambda group: escape(losses_in_words(group.first.losses))),
    ("Epochs", _epochs),
    ("Seeds", _seeds),
    ("Last top-1", _score("last", "top1")),
    ("Best top-1†", _score("best", "top1")),
    ("Top-5", _score("last", "top5")),
    ("NLL", _score("last", "nll", 3)),
    ("ECE", _score("last", "ece")),
    ("Time", _time),
)
