"""``ood.npz``: curves, histograms and the most confidently wrong pictures, for the report page."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from kdzoo.files import atomic_path
from kdzoo.robust.ood.metrics import roc_curve
from kdzoo.robust.ood.summary import TUNED_ON_FGSM, Measured

POINTS, BINS, PICTURES = 101, 40, 24  # of a curve, of a histogram, of a set


def write_record(
    path: Path,
    measured: Sequence[Measured],
    batches: dict[str, Callable[[], Iterable[Tensor]]],
    batches_id: Callable[[], Iterable[Tensor]],
    classes: list[str],
    positive: str,
) -> None:
    """Write the file.

    Arrays, for S sets and K detectors: ``sets`` and ``kinds`` [S], ``detectors`` [K], ``auroc`` and ``fpr95`` [S, K],
    ``roc`` [S, K, 101] (TPR at FPR 0, 0.01, ..., 1), ``edges`` [S, K, 41], ``counts_id`` and ``counts_ood``
    [S, K, 40] (shares of each side), and of the pictures ``chosen`` was most surely wrong about: ``pictures`` uint8
    [M, H, W, C], ``picture_set`` [M], ``picture_share`` [M] and ``picture_class`` [M] (what the network said). Those
    of set 0, 1, ... were taken for in-distribution; the share is of in-distribution images that scored lower. Those
    of set -1 are in-distribution and were rejected; the share is of all sets' images that scored higher.

    Args:
        path: the file.
        measured: of every set.
        batches: name of a set -> starts a pass over its images, for the pictures.
        batches_id: likewise, over the in-distribution images.
        classes: names.
        positive: the convention of ``fpr95``.
    """
    detectors = list(dict.fromkeys(row.detector for part in measured for row in part.rows))
    chosen = TUNED_ON_FGSM if TUNED_ON_FGSM in detectors else detectors[-1]
    rows = {(part.name, row.detector): row.metrics for part in measured for row in part.rows}
    arrays = dict(
        sets=np.array([part.name for part in measured]), kinds=np.array([part.kind for part in measured]),
        detectors=np.array(detectors), chosen=np.array(chosen), positive=np.array(positive),
        roc=np.stack([[_curve(part, name) for name in detectors] for part in measured]),
    )  # fmt: skip
    for key in ("auroc", "fpr95"):
        arrays[key] = np.array([[rows[part.name, name][key] for name in detectors] for part in measured])
    histograms = [[_histogram(part, name) for name in detectors] for part in measured]
    for place, key in enumerate(("edges", "counts_id", "counts_ood")):
        arrays[key] = np.stack([[found[place] for found in line] for line in histograms])
    found = [
        *(_accepted(number, part, chosen, batches[part.name], classes) for number, part in enumerate(measured)),
        _rejected(measured, chosen, batches_id, classes),
    ]
    for place, key in enumerate(("pictures", "picture_set", "picture_share", "picture_class")):
        arrays[key] = np.concatenate([each[place] for each in found])
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def _curve(part: Measured, name: str) -> np.ndarray:
    tpr, fpr = roc_curve(part.known[name], part.unknown[name])
    return np.interp(np.linspace(0, 1, POINTS), fpr, tpr).astype(np.float32)


def _histogram(part: Measured, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges and shares; the outermost half per cent lies in the outermost bins."""
    known, unknown = part.known[name], part.unknown[name]
    low, high = np.percentile(np.concatenate([known, unknown]), [0.5, 99.5])
    high = high if high > low else low + 1
    edges = np.linspace(low, high, BINS + 1)
    shares = [np.histogram(np.clip(side, low, high), edges)[0] / len(side) for side in (known, unknown)]
    return edges, *shares


def _accepted(number: int, part: Measured, chosen: str, batches: Callable, classes: list[str]) -> tuple:
    """The OOD pictures with the highest scores."""
    scores, known = part.unknown[chosen], np.sort(part.known[chosen])
    best = np.argsort(-scores, kind="stable")[:PICTURES]
    lower = np.searchsorted(known, scores[best]) / len(known)
    return _pictures(number, part.places[best], part.predicted[best], lower, batches, classes)


def _rejected(measured: Sequence[Measured], chosen: str, batches: Callable, classes: list[str]) -> tuple:
    """The in-distribution pictures with the lowest scores, which are the same whatever the set."""
    first, unknown = measured[0], np.sort(np.concatenate([part.unknown[chosen] for part in measured]))
    scores = first.known[chosen]
    best = np.argsort(scores, kind="stable")[:PICTURES]
    higher = 1 - np.searchsorted(unknown, scores[best], side="right") / len(unknown)
    return _pictures(-1, first.places_id[best], first.predicted_id[best], higher, batches, classes)


def _pictures(
    number: int, places: np.ndarray, predicted: np.ndarray, shares: np.ndarray, batches: Callable, classes: list[str]
) -> tuple:
    """Pictures [K, H, W, C] at these places of a pass, in their order, and what is told of them."""
    wanted, images, start = set(places.tolist()), {}, 0
    for batch in batches():
        for place in wanted & set(range(start, start + len(batch))):
            image = batch[place - start].clamp(0, 1).mul(255).round().byte()
            images[place] = image.permute(1, 2, 0).cpu().numpy()
        start += len(batch)
    said = np.array([classes[k] for k in predicted])
    return np.stack([images[p] for p in places]), np.full(len(places), number), shares, said
