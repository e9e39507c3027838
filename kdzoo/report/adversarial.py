"""Section: how well attacked images are told from clean and noisy ones, from ``ood_adversarial.npz``."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from kdzoo.report.cell import cell
from kdzoo.report.groups import Group
from kdzoo.report.picture import data_uri
from kdzoo.report.record import articles, read_arrays

FILE = "ood_adversarial.npz"
_FIGURES = ("auroc", "tnr95", "detection_accuracy")
_ROWS = ("attack", "tuned_on", "images", *_FIGURES)


def adversarial(groups: Sequence[Group]) -> str:
    """Table and pictures of the first run of each group that has them."""
    return articles(groups, FILE, _draw)


def _draw(file: Path) -> str:
    record = read_record(file)
    return _table(record) + _pictures(record)


def read_record(file: Path) -> dict[str, np.ndarray]:
    """The arrays, checked; ValueError says what is wrong."""
    record = read_arrays(file, (*_ROWS, "pictures", "picture_attack"))
    if len({record[name].shape for name in _ROWS}) != 1 or record["attack"].ndim != 1:
        raise ValueError("its columns differ in length")
    pictures = record["pictures"]
    if pictures.dtype != np.uint8 or pictures.ndim != 5 or pictures.shape[1] != 2 or pictures.shape[4] not in (1, 3):
        raise ValueError(f"expected uint8 [M, 2, H, W, 1 or 3] pictures, got {pictures.dtype} {pictures.shape}")
    if len(pictures) != len(record["picture_attack"]):
        raise ValueError("its lists of pictures differ in length")
    return record


def _table(record: dict[str, np.ndarray]) -> str:
    columns = ("tuned on", "triples", "AUROC", "TNR95", "accuracy")
    head = "".join(f"<th scope=col>{name}</th>" for name in ("Attack", *columns))
    rows = []
    for place in range(len(record["attack"])):
        cells = [escape(str(record[name][place])) for name in ("tuned_on", "images")]
        cells += [f"<span class=num>{100 * float(record[name][place]):.2f}</span>" for name in _FIGURES]
        named = "".join(map(cell, columns, cells))
        rows.append(f"<tr><td>{escape(str(record['attack'][place]))}</td>{named}</tr>")
    note = (
        "Mahalanobis ensemble: clean and noisy images (positive) against attacked ones, in percent. Tuned on the "
        "attack itself, or on FGSM alone; the images that tune are not tested."
    )
    return (
        f"<p class=note>{note}</p><div class=scroll><table class=summary><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _pictures(record: dict[str, np.ndarray]) -> str:
    """Per attack: an image, attacked, and ten times the change around grey."""
    figures = []
    for name, (clean, attacked) in zip(record["picture_attack"], record["pictures"], strict=True):
        change = np.clip(127.5 + 10 * (attacked.astype(np.float32) - clean), 0, 255).round().astype(np.uint8)
        told = escape(str(name))
        for label, picture in (("clean", clean), (told, attacked), (f"{told}, change × 10", change)):
            figures.append(
                f'<figure><img src="{data_uri(picture)}" alt="{label}" loading=lazy><figcaption>{label}</figcaption>'
                "</figure>"
            )
    return f"<div class=pictures>{''.join(figures)}</div>"
