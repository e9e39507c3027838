"""Section: which classes are taken for which."""

from collections.abc import Sequence
from html import escape

import numpy as np

from kdzoo.report.evaluation import Evaluation
from kdzoo.report.groups import Group
from kdzoo.report.picture import data_uri
from kdzoo.report.plot import swatch

NUMBERED = 16  # up to so many classes the matrix is a table of numbers, beyond it a picture
PAIRS = 8
RIGHT, WRONG = (42, 120, 214), (232, 104, 52)  # the style sheet's --right and --wrong


def confusion(groups: Sequence[Group]) -> str:
    """The confusion matrix of the first finished seed of each group, and its most frequent mix-ups."""
    cards = []
    for slot, group in enumerate(groups):
        evaluation = group.first.evaluation
        if evaluation is None or not evaluation.confusion.sum():
            continue
        shares = _shares(evaluation.confusion)
        draw = _table if len(evaluation.classes) <= NUMBERED else _heat_map
        cards.append(
            f"<article><h3>{swatch(slot)}{escape(group.label(group.first))}</h3>"
            f"{draw(evaluation, shares)}{_pairs(evaluation, shares)}</article>"
        )
    if not cards:
        return ""
    note = (
        "Rows are true classes, columns what the network said. "
        '<span class="key right"></span> the share of a class that is recognised; '
        '<span class="key wrong"></span> the share taken for another class, on a scale of its own that ends at '
        "the matrix's largest mix-up."
    )
    return f'<p class="note">{note}</p><div class="cards">{"".join(cards)}</div>'


def _shares(counts: np.ndarray) -> np.ndarray:
    """[C, C] shares of each true class, 0 for a class without images."""
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _strengths(shares: np.ndarray) -> np.ndarray:
    """[C, C] how strongly to colour a cell, 0 to 1: mix-ups by the root of their share of the largest one."""
    wrong = shares * (1 - np.eye(len(shares)))
    strengths = np.sqrt(wrong / max(wrong.max(), 1e-12))
    np.fill_diagonal(strengths, shares.diagonal())
    return strengths


def _table(evaluation: Evaluation, shares: np.ndarray) -> str:
    """One cell a pair of classes, with its count."""
    names = [escape(name) for name in evaluation.classes]
    strengths = _strengths(shares)
    head = "".join(f"<th scope=col><span>{name}</span></th>" for name in names)
    rows = []
    for true, name in enumerate(names):
        cells = []
        for predicted, count in enumerate(evaluation.confusion[true].tolist()):
            kind = "right" if true == predicted else "wrong"
            strong = " strong" if strengths[true, predicted] > 0.6 else ""
            title = f"true {name}, predicted {names[predicted]}: {count} ({100 * shares[true, predicted]:.1f} %)"
            cells.append(
                f'<td class="{kind}{strong}" style="--v:{strengths[true, predicted]:.3f}" title="{title}">'
                f"{count or ''}</td>"
            )
        rows.append(f"<tr><th scope=row>{name}</th>{''.join(cells)}</tr>")
    return (
        f"<div class=scroll><table class=matrix><thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _heat_map(evaluation: Evaluation, shares: np.ndarray) -> str:
    """One pixel a pair of classes. Transparent where nothing is, so it stands on light and dark alike."""
    size = len(shares)
    pixels = np.empty((size, size, 4), dtype=np.uint8)
    pixels[..., :3] = WRONG
    pixels[np.arange(size), np.arange(size), :3] = RIGHT
    pixels[..., 3] = np.round(255 * _strengths(shares))
    return (
        f'<figure class=heat><img src="{data_uri(pixels)}" alt="confusion matrix of {size} classes">'
        f"<figcaption><span>true class, 1 to {size} ↓</span><span>predicted class →</span></figcaption></figure>"
    )


def _pairs(evaluation: Evaluation, shares: np.ndarray) -> str:
    """The mix-ups with the most images."""
    wrong = evaluation.confusion * (1 - np.eye(len(shares), dtype=np.int64))
    flat = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    rows = []
    for true, predicted in zip(*np.unravel_index(flat, wrong.shape), strict=True):
        if not wrong[true, predicted]:
            break
        rows.append(
            f"<tr><td>{escape(evaluation.classes[true])}</td><td>{escape(evaluation.classes[predicted])}</td>"
            f"<td>{wrong[true, predicted]}</td><td>{100 * shares[true, predicted]:.1f} %</td></tr>"
        )
    if not rows:
        return "<p class=note>No mistakes at all.</p>"
    head = "<th scope=col>true</th><th scope=col>taken for</th><th scope=col>images</th><th scope=col>of its class</th>"
    return f"<table class=pairs><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
