"""Section: robust accuracy against epsilon with pictures of the changes, from ``attacks.npz`` in a run's folder."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from kdzoo.report.cell import cell
from kdzoo.report.groups import Group
from kdzoo.report.picture import data_uri
from kdzoo.report.plot import Line, line_chart
from kdzoo.report.record import articles, read_arrays

FILE = "attacks.npz"
_NAMES = ("attack", "norm", "eps", "top1", "clean", "adversarial", "change", "picture_norm", "picture_eps", "said")


def epsilon(groups: Sequence[Group]) -> str:
    """Curves, a table and pictures of the first run of each group that has them."""
    return articles(groups, FILE, _draw)


def _draw(file: Path) -> str:
    record = read_record(file)
    return _table(record) + _curves(record) + _pictures(record)


def read_record(file: Path) -> dict[str, np.ndarray]:
    """The arrays, checked; ValueError says what is wrong."""
    record = read_arrays(file, _NAMES)
    if not record["norm"].shape == record["eps"].shape == record["top1"].shape:
        raise ValueError("norm, eps and top1 differ in length")
    for name in ("clean", "adversarial", "change"):
        pictures = record[name]
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] not in (1, 3):
            raise ValueError(f"expected uint8 [M, H, W, 1 or 3] in {name}, got {pictures.dtype} {pictures.shape}")
        if not len(pictures) == len(record["said"]) == len(record["picture_norm"]) == len(record["picture_eps"]):
            raise ValueError("its lists of pictures differ in length")
    return record


def _eps(norm: str, eps: float) -> str:
    """Linf in 255ths, as everyone writes it."""
    return f"{255 * eps:.3g}/255" if norm == "Linf" and eps else f"{eps:g}"


def _table(record: dict[str, np.ndarray]) -> str:
    rows = "".join(
        f"<tr><td>{escape(str(norm))}</td>{cell('Epsilon', _eps(str(norm), float(eps)))}"
        f"{cell('Robust top-1', f'{float(top1):.2f}')}</tr>"
        for norm, eps, top1 in zip(record["norm"], record["eps"], record["top1"], strict=True)
    )
    return (
        f"<p class=note>Top-1 in percent of images attacked by {escape(str(record['attack']))}; epsilon 0 is the clean "
        "accuracy. A stronger attack can only lower these numbers.</p><div class=scroll><table class=summary><thead>"
        "<tr><th scope=col>Norm</th><th scope=col>Epsilon</th><th scope=col>Robust top-1</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _curves(record: dict[str, np.ndarray]) -> str:
    charts = []
    for slot, norm in enumerate(dict.fromkeys(map(str, record["norm"]))):
        rows = record["norm"] == norm
        eps, top1 = record["eps"][rows].tolist(), record["top1"][rows].tolist()
        if len(eps) > 1:
            line = Line(str(record["attack"]), slot, eps, top1, [])
            charts.append(line_chart(f"Robust top-1 in {norm}", [line], x_label="epsilon (pixels in [0, 1])"))
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _pictures(record: dict[str, np.ndarray]) -> str:
    if not len(record["said"]):
        return ""
    blocks = ["<p class=note>Image, attacked image with what the network says of it, and the change, scaled.</p>"]
    for norm in dict.fromkeys(map(str, record["picture_norm"])):
        places = np.flatnonzero(record["picture_norm"] == norm)
        eps = _eps(norm, float(record["picture_eps"][places[0]]))
        figures = "".join(_figure(record, place) for place in places)
        blocks.append(f"<p><br><b>{escape(norm)}, {eps}</b></p><div class=pictures>{figures}</div>")
    return "".join(blocks)


def _figure(record: dict[str, np.ndarray], place: int) -> str:
    said = escape(str(record["said"][place]))
    parts = [("clean", "image"), ("adversarial", f"attacked, predicted {said}"), ("change", "change, scaled")]
    pictures = "".join(f'<img src="{data_uri(record[name][place])}" alt="{text}" loading=lazy>' for name, text in parts)
    return f"<figure>{pictures}<figcaption><b>{said}</b></figcaption></figure>"
