"""Section: errors under common corruptions, from ``corruptions.npz`` in a run's folder."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from kdzoo.report.cell import cell
from kdzoo.report.groups import Group
from kdzoo.report.picture import data_uri
from kdzoo.report.record import articles, read_arrays

FILE = "corruptions.npz"
_NAMES = ("source", "names", "severities", "errors", "clean", "baseline", "ratios", "pictures")
_BAR = "display:inline-block;height:9px;border-radius:2px;background:var(--s0);vertical-align:middle"


def corruptions(groups: Sequence[Group]) -> str:
    """Bars and pictures of the first run of each group that has them."""
    return articles(groups, FILE, _draw)


def _draw(file: Path) -> str:
    record = read_record(file)
    return _bars(record) + _strip(record)


def read_record(file: Path) -> dict[str, np.ndarray]:
    """The arrays, checked; ValueError says what is wrong."""
    record = read_arrays(file, _NAMES)
    shape = (len(record["names"]), len(record["severities"]))
    if record["errors"].shape != shape or record["ratios"].shape != shape[:1]:
        raise ValueError(f"errors have the shape {record['errors'].shape}, expected {shape}")
    pictures = record["pictures"]
    if (
        pictures.dtype != np.uint8
        or pictures.ndim != 5
        or pictures.shape[:2] != shape
        or pictures.shape[4] not in (1, 3)
    ):
        raise ValueError(f"expected uint8 {shape} + (H, W, 1 or 3) pictures, got {pictures.dtype} {pictures.shape}")
    return record


def _bars(record: dict[str, np.ndarray]) -> str:
    """A line a corruption: a bar for its mean error, and the error at every severity."""
    severities = record["severities"].tolist()
    baseline = str(record["baseline"])
    columns = [f"severity {severity}" for severity in severities] + (["CE %"] if baseline else [])
    head = "".join(f"<th scope=col>{column}</th>" for column in columns)
    rows = [_row("clean", float(record["clean"]), dict.fromkeys(columns, "–"))]
    for name, errors, ratio in zip(record["names"], record["errors"], record["ratios"], strict=True):
        cells = [f"{100 * error:.2f}" for error in errors]
        cells += [f"{100 * ratio:.1f}" if np.isfinite(ratio) else "–"] if baseline else []
        rows.append(_row(str(name), float(errors.mean()), dict(zip(columns, cells, strict=True))))
    note = f"{record['source']}: errors in percent; the bar is the mean over the severities."
    note += f" CE is relative to {baseline}." if baseline else ""
    return (
        f"<p class=note>{escape(note)}</p><div class=scroll><table class=summary><thead><tr><th scope=col>Corruption"
        f"</th><th scope=col>mean error</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(name: str, error: float, cells: dict[str, str]) -> str:
    bar = f'<i style="{_BAR};width:{150 * error:.1f}px"></i> {100 * error:.2f}'
    numbers = [cell(column, f"<span class=num>{text}</span>") for column, text in ({"mean error": bar} | cells).items()]
    return f"<tr><td>{escape(name)}</td>{''.join(numbers)}</tr>"


def _strip(record: dict[str, np.ndarray]) -> str:
    """One test image under every corruption, the severities side by side."""
    figures = []
    for name, row in zip(record["names"], record["pictures"], strict=True):
        told = escape(str(name))
        figures += [
            f'<figure><img src="{data_uri(picture)}" alt="{told}, severity {severity}" loading=lazy>'
            f"<figcaption>{told} {severity}</figcaption></figure>"
            for severity, picture in zip(record["severities"].tolist(), row, strict=True)
        ]
    return f"<p class=note>The first test image under each.</p><div class=pictures>{''.join(figures)}</div>"
