"""Section: how well out-of-distribution images are told from the test set, from ``ood.npz`` in a run's folder."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from kdzoo.report.cell import cell
from kdzoo.report.groups import Group
from kdzoo.report.ood_charts import histograms, roc_curves
from kdzoo.report.picture import data_uri
from kdzoo.report.record import articles, read_arrays

FILE = "ood.npz"
_NAMES = (
    "sets", "kinds", "detectors", "chosen", "positive", "auroc", "fpr95", "roc", "edges", "counts_id", "counts_ood",
    "pictures", "picture_set", "picture_share", "picture_class",
)  # fmt: skip


def ood(groups: Sequence[Group]) -> str:
    """Table, ROC curves, histograms and pictures of the first run of each group that has them."""
    return articles(groups, FILE, _draw)


def _draw(file: Path) -> str:
    record = read_record(file)
    return _table(record) + roc_curves(record) + histograms(record) + _wrong(record)


def read_record(file: Path) -> dict[str, np.ndarray]:
    """The arrays, checked; ValueError says what is wrong."""
    record = read_arrays(file, _NAMES)
    shape = (len(record["sets"]), len(record["detectors"]))
    for name in ("auroc", "fpr95", "roc", "edges", "counts_id", "counts_ood"):
        if record[name].shape[:2] != shape:
            raise ValueError(f"{name} has the shape {record[name].shape}, expected {shape} first")
    pictures = record["pictures"]
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] not in (1, 3):
        raise ValueError(f"expected uint8 [M, H, W, 1 or 3] pictures, got {pictures.dtype} {pictures.shape}")
    if not len(pictures) == len(record["picture_set"]) == len(record["picture_share"]) == len(record["picture_class"]):
        raise ValueError("its lists of pictures differ in length")
    return record


def _table(record: dict[str, np.ndarray]) -> str:
    """AUROC and FPR at 95 % TPR; the best of a column stands out."""
    head = "".join(
        f"<th scope=col>{escape(str(name))}<small>{kind}</small></th>"
        for name, kind in zip(record["sets"], record["kinds"], strict=True)
    )
    best = np.round(100 * record["auroc"], 2).max(axis=1)
    rows = []
    for place, name in enumerate(record["detectors"]):
        cells = []
        for column in range(len(record["sets"])):
            auroc, fpr = 100 * record["auroc"][column, place], 100 * record["fpr95"][column, place]
            tag = "b" if round(auroc, 2) >= best[column] else "span"
            numbers = f"<{tag} class=num>{auroc:.2f}</{tag}><span class=sd>{fpr:.2f}</span>"
            cells.append(cell(str(record["sets"][column]), numbers))
        rows.append(f"<tr><td>{escape(str(name))}</td>{''.join(cells)}</tr>")
    side = "in-distribution" if str(record["positive"]) == "id" else "out-of-distribution"
    note = f"AUROC in percent, and in small the false positives at 95 % true positives ({side} is positive)."
    return (
        f"<p class=note>{note}</p><div class=scroll><table class=summary><thead><tr><th scope=col>Detector</th>{head}"
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _wrong(record: dict[str, np.ndarray]) -> str:
    """Per set, the pictures taken for in-distribution most surely; then the test pictures rejected most surely."""
    if not len(record["pictures"]):
        return ""
    chosen = escape(str(record["chosen"]))
    note = (
        f"Out-of-distribution pictures that {chosen} took for in-distribution, the surest first: what the network "
        "said, and the share of test images that looked less in-distribution."
    )
    blocks = [f"<p class=note>{note}</p>"]
    for number, name in enumerate(record["sets"]):
        blocks.append(_block(record, number, str(name), "above"))
    if (record["picture_set"] == -1).any():  # a file of an earlier version has none
        note = (
            f"Test pictures that {chosen} rejected as out-of-distribution, the surest first: what the network said, "
            "and the share of all sets' images that looked more in-distribution."
        )
        blocks.append(f"<p class=note><br>{note}</p>" + _block(record, -1, "test set", "below"))
    return "".join(blocks)


def _block(record: dict[str, np.ndarray], number: int, name: str, side: str) -> str:
    places = np.flatnonzero(record["picture_set"] == number)
    figures = "".join(_picture(record, place, name, side) for place in places)
    return f"<p><br><b>{escape(name)}</b></p><div class=pictures>{figures}</div>"


def _picture(record: dict[str, np.ndarray], place: int, name: str, side: str) -> str:
    said, share = escape(str(record["picture_class"][place])), 100 * float(record["picture_share"][place])
    return (
        f'<figure><img src="{data_uri(record["pictures"][place])}" alt="{escape(name)}, predicted {said}" '
        f"loading=lazy><figcaption><b>{said}</b><br><span class=muted>{side} {share:.0f}&nbsp;%</span></figcaption>"
        "</figure>"
    )
