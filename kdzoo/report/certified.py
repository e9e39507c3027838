"""Certification logs as a page and as a table: certified accuracy against radius with confidence bands, and ACR."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

from kdzoo import __version__
from kdzoo.errors import UserError
from kdzoo.files import write_text
from kdzoo.report.cell import cell
from kdzoo.report.certified_chart import Curve, certified_chart
from kdzoo.report.plot import swatch
from kdzoo.report.style import STYLE
from kdzoo.robust.certify.analysis import Summary, accuracy_band, certified_accuracy, high_probability_lower, summarise
from kdzoo.robust.certify.log import Row, read_log, read_side_file, side_file

UNKNOWN = "method unknown (no side file)"


@dataclass(frozen=True)
class Log:
    """A certification log with what its side file says.

    Args:
        name: of the file, without its ending.
        rows: its images.
        settings: of the side file; empty where there is none.
        records: the side file's counts.
    """

    name: str
    rows: list[Row]
    settings: dict[str, Any] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def label(self) -> str:
        """How the numbers are to be named."""
        return self.settings.get("label", UNKNOWN)

    @property
    def decided(self) -> list[float] | None:
        """The radii a sequential log decided; it says nothing between them. ``None`` for a log of radii."""
        return self.settings.get("radii")

    @property
    def alpha(self) -> float:
        return self.settings.get("alpha", 0.001)


def read_logs(paths: Sequence[str | Path]) -> list[Log]:
    """Read logs and, where they are, the side files.

    Raises:
        UserError: a file can't be read, or holds no image.
    """
    logs = []
    for path in map(Path, paths):
        settings, records = read_side_file(side_file(path), allow_cut=True) if side_file(path).exists() else ({}, [])
        rows = read_log(path)
        if not rows:
            raise UserError(f"{path} holds no image yet; certify one at least")
        logs.append(Log(path.name.removesuffix(".tsv"), rows, settings, records))
    return logs


def grid(logs: Sequence[Log]) -> list[float]:
    """The literature's radii up to the largest in the logs, and those that were asked for."""
    radii = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0]
    largest = max(row.radius for log in logs for row in log.rows)
    radii = radii[: max(5, 1 + sum(radius <= largest for radius in radii))]
    return sorted({*radii, *(radius for log in logs for radius in log.decided or ())})


def text_table(logs: Sequence[Log]) -> str:
    """A line a log: images, certified accuracy at radii, ACR, abstentions, seconds an image; its method below.

    Example:
        >>> print(text_table(read_logs(["certify_cohen_sigma0.25.tsv"])))
    """
    radii = grid(logs)
    width = max(len("log"), *(len(log.name) for log in logs))
    head = f"{'log':{width}}  images  " + " ".join(f"{radius:>5g}" for radius in radii) + "    ACR  abstain  s/image"
    lines = [head, "-" * len(head)]
    for log in logs:
        summary = summarise(log.rows, radii)
        cells = " ".join(f"{_cell(log, a, r):>5}" for a, r in zip(summary.accuracy, radii, strict=True))
        acr = "-" if log.decided else f"{summary.acr:.3f}"
        lines.append(
            f"{log.name:{width}}  {summary.images:6d}  {cells}  {acr:>5}  {summary.abstained:7.3f}  "
            f"{summary.mean_seconds:7.1f}"
        )
    return "\n".join(lines + [f"{log.name}: {log.label}" for log in logs])


def _cell(log: Log, accuracy: float, radius: float) -> str:
    return f"{accuracy:.3f}" if log.decided is None or radius in log.decided else "-"


def write_certified_report(logs: Sequence[Log], out: str | Path) -> Path:
    """Write one self-contained page.

    Args:
        logs: of :func:`read_logs`.
        out: the HTML file; it is written whole or not at all.

    Returns:
        ``out``.
    """
    out = Path(out)
    write_text(out, _page(logs))
    return out


def _page(logs: Sequence[Log]) -> str:
    title = escape(logs[0].name if len(logs) == 1 else f"{len(logs)} certification logs")
    curves = [_curve(slot, log) for slot, log in enumerate(logs)]
    bands = (
        "A curve is the share of images that are right and certified at the radius; bands are exact 95 % binomial "
        "intervals at each radius, for the images as a sample of the test distribution. A log without a "
        "confidence of its own is taken at alpha 0.001."
    )
    hints = "".join(
        f'<p class="warned">{escape(log.name)}: {escape(log.label)}</p>' for log in logs if "optimistic" in log.label
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{title} · kdzoo report</title>'
        f"<style>{STYLE}{_STYLE}</style></head>\n"
        f"<body><header><p class=brand>kdzoo report</p><h1>{title}</h1>"
        f'<p class="muted">Certified robustness, L2 radius in pixels of [0, 1]</p></header>\n<main>{hints}'
        f'<section><h2>Certified accuracy</h2><p class="note">{bands}</p>{certified_chart(curves)}</section>'
        f"<section><h2>Table</h2>{_table(logs)}</section>"
        f"<section><h2>Settings</h2>{''.join(map(_settings, logs))}</section></main>\n"
        f"<footer>Written {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC by kdzoo {__version__}.</footer>"
        "</body></html>\n"
    )


_STYLE = """
.certified td, .certified th { text-align: right; }
.certified :is(td, th):first-child { text-align: left; min-width: 15em; overflow-wrap: anywhere; }
.plot { cursor: default; }
.certified td.best { font-weight: 700; }
@media (max-width: 860px) {
  .certified td { grid-template-columns: 9em 1fr; text-align: left; }
  .certified td:first-child { min-width: 0; }
}
"""


def _curve(slot: int, log: Log) -> Curve:
    """Every radius at which the share changes; a sequential log has its decided radii only."""
    asked = log.decided
    radii = sorted({0.0, *(row.radius for row in log.rows if row.correct)}) if asked is None else list(asked)
    shares = certified_accuracy(log.rows, radii)
    bands = [accuracy_band(share, len(log.rows)) for share in shares]
    return Curve(log.name, slot, radii, shares, [low for low, _ in bands], [high for _, high in bands], asked is None)


def _table(logs: Sequence[Log]) -> str:
    radii = grid(logs)
    names = ["log", "images", *(f"r = {radius:g}" for radius in radii), "ACR", "abstained", "s / image"]
    rows = []
    for slot, log in enumerate(logs):
        summary = summarise(log.rows, radii)
        cells = [_name_cell(slot, log), f"{summary.images:,}"]
        cells += [_share(log, summary, place, radius) for place, radius in enumerate(radii)]
        cells += [_acr(log, summary), f"{summary.abstained:.1%}", f"{summary.mean_seconds:.2f}"]
        rows.append(f"<tr><td>{cells[0]}</td>{''.join(map(cell, names[1:], cells[1:]))}</tr>")
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    return (
        f'<div class="scroll"><table class="summary certified"><thead><tr>{head}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div><p class="note">Small: the lower bound that also allows for '
        "certificates that fail, right with probability 0.999. ACR: average certified radius, wrong and abstained "
        "images as 0, with its standard error. A sequential log decides the radii it was asked, and has no ACR.</p>"
    )


def _name_cell(slot: int, log: Log) -> str:
    badge = '<span class="badge">optimistic</span>' if "optimistic" in log.label else ""
    return f"<div>{swatch(slot)}<span>{escape(log.name)}{badge}</span></div><small>{escape(log.label)}</small>"


def _share(log: Log, summary: Summary, place: int, radius: float) -> str:
    share = summary.accuracy[place]
    text = _cell(log, share, radius)
    if text == "-":
        return "–"
    lower = max(0.0, high_probability_lower(share, summary.images, log.alpha))
    return f"{text}<small>{math.floor(lower * 1000) / 1000:.3f}</small>"


def _acr(log: Log, summary: Summary) -> str:
    if log.decided is not None:
        return "–"
    error = f"<small>± {summary.acr_error:.3f}</small>" if math.isfinite(summary.acr_error) else ""
    return f"{summary.acr:.3f}{error}"


def _settings(log: Log) -> str:
    told = {"images": len(log.rows), "method": UNKNOWN} | log.settings
    counted = [record for record in log.records if record.get("selection")]
    nothing = sum(r["selection"][-1] + r.get("non_finite", 0) + (r.get("votes") or [0])[-1] for r in counted)
    if counted:
        told["samples with non-finite logits"] = f"{nothing:g}"
    items = "".join(f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>" for name, value in told.items())
    return f"<details><summary>{escape(log.name)}</summary><dl>{items}</dl></details>"
