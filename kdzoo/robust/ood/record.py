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
    classes: list[str],
    positive: str,
) -> None:
    """Write the file.

    Arrays, for S sets and K detectors: ``sets`` and ``kinds`` [S], ``detectors`` [K], ``auroc`` and ``fpr95`` [S, K],
    ``roc`` [S, K, 101] (TPR at FPR 0, 0.01, ..., 1), ``edges`` [S, K, 41], ``counts_id`` and ``counts_ood``
    [S, K, 40] (shares of each side), and of the OOD pictures that ``chosen`` took for in-distribution most surely:
    ``pictures`` uint8 [M, H, W, C], ``picture_set`` [M], ``picture_share`` [M] (the share of in-distribution images
    that scored lower) and ``picture_class`` [M] (what the network said).

    Args:
        path: the file.
        measured: of every set.
        batches: name of a set -> starts a pass over its images, for the pictures.
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
    found = [_pictures(number, part, chosen, batches[part.name], classes) for number, part in enumerate(measured)]
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


def _pictures(number: int, part: Measured, chosen: str, batches: Callable, classes: list[str]) -> tuple:
    """The OOD pictures with the highest scores."""
    scores = part.unknown[chosen]
    best = np.argsort(-scores, kind="stable")[:PICTURES]
    wanted, images, start = set(part.places[best].tolist()), {}, 0
    for batch in batches():
        for place in wanted & set(range(start, start + len(batch))):
            image = batch[place - start].clamp(0, 1).mul(255).round().byte()
            images[place] = image.permute(1, 2, 0).cpu().numpy()
        start += len(batch)
    lower = np.searchsorted(np.sort(part.known[chosen]), scores[best]) / len(part.known[chosen])
    said = np.array([classes[k] for k in part.predicted[best]])
    return np.stack([images[p] for p in part.places[best]]), np.full(len(best), number), lower, said
