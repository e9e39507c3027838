"""From scores to a table: every detector on every set, the ensemble tuned with and without OOD images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdzoo.robust.ood.ensemble import Regression, tune
from kdzoo.robust.ood.metrics import ood_metrics
from kdzoo.robust.ood.scoring import SetScores

TUNED_ON_OOD, TUNED_ON_FGSM = "Mahalanobis ensemble, tuned on OOD", "Mahalanobis ensemble, tuned on FGSM"


@dataclass
class Row:
    """One detector on one set.

    Args:
        detector, set, kind: names, and "near" or "far".
        metrics: of ``ood_metrics``, shares in 0..1.
        epsilon: the step of the pre-processing, where one was chosen.
    """

    detector: str
    set: str
    kind: str
    metrics: dict[str, float]
    epsilon: float | None = None


@dataclass
class Measured:
    """Test scores of one set under every detector, ensembles included, and what they amount to.

    Args:
        name, kind: of the set.
        known, unknown: detector -> [N] scores of ID and of OOD test images.
        rows: the metrics.
        places: [N] which of the OOD set's images were tested.
        predicted: [N] the class the network gave them.
        places_id, predicted_id: likewise of the ID images.
    """

    name: str
    kind: str
    known: dict[str, np.ndarray]
    unknown: dict[str, np.ndarray]
    rows: list[Row]
    places: np.ndarray
    predicted: np.ndarray
    places_id: np.ndarray
    predicted_id: np.ndarray


def validation_rows(count: int, wanted: int) -> np.ndarray:
    """Which of a set's images are for tuning: ``wanted`` of them, at most a quarter, evenly spread. A mask [count]."""
    number = min(wanted, count // 4)
    mask = np.zeros(count, dtype=bool)
    if number:
        mask[np.arange(number) * count // number] = True
    return mask


def measure(
    name: str,
    kind: str,
    known: SetScores,
    unknown: SetScores,
    fgsm: SetScores | None,
    epsilons: Sequence[float],
    validation: int,
    positive: str = "id",
    convention: str = "exact",
) -> Measured:
    """Metrics of all detectors on one set, on images that nothing was tuned on.

    Args:
        name, kind: of the OOD set.
        known: scores of in-distribution test images.
        unknown: of the OOD set.
        fgsm: of FGSM images made from the in-distribution validation images (and nothing else).
        epsilons: [E], steps of the grids.
        validation: images of each side for tuning the ensemble (the paper: 1,000); at most a quarter of a set.
        positive, convention: of ``ood_metrics``.
    """
    held_id, held_ood = (validation_rows(len(s.predicted), validation) for s in (known, unknown))
    test_id = {key: scores[~held_id] for key, scores in known.scores.items()}
    test_ood = {key: scores[~held_ood] for key, scores in unknown.scores.items()}
    steps: dict[str, float] = {}
    if known.grid is not None:
        tunings = {TUNED_ON_OOD: unknown.grid[:, held_ood]} | ({TUNED_ON_FGSM: fgsm.grid} if fgsm else {})
        for label, negatives in tunings.items():
            regression: Regression = tune(known.grid[:, held_id], negatives, epsilons)
            place = list(epsilons).index(regression.epsilon)
            steps[label] = regression.epsilon
            test_id[label] = regression.score(known.grid[place][~held_id])
            test_ood[label] = regression.score(unknown.grid[place][~held_ood])
    rows = [
        Row(key, name, kind, ood_metrics(test_id[key], test_ood[key], positive, convention), steps.get(key))
        for key in test_id
    ]
    places, places_id = np.flatnonzero(~held_ood), np.flatnonzero(~held_id)
    return Measured(
        name, kind, test_id, test_ood, rows, places, unknown.predicted[places], places_id, known.predicted[places_id]
    )


def text_table(measured: Sequence[Measured], positive: str) -> str:
    """AUROC and FPR at 95 % TPR in percent: a line a detector, two columns a set, near and far means at the end."""
    rows = {(row.detector, row.set): row.metrics for part in measured for row in part.rows}
    names = list(dict.fromkeys(row.detector for part in measured for row in part.rows))
    columns = [(part.name, [part.name]) for part in measured]
    for kind in ("near", "far"):
        members = [part.name for part in measured if part.kind == kind]
        columns += [(f"{kind} mean", members)] if len(members) > 1 else []
    wide, cell = max(map(len, names)) + 2, max(16, *(len(title) + 2 for title, _ in columns))
    side = "ID" if positive == "id" else "OOD"
    lines = [
        f"AUROC % / FPR % at 95 % TPR ({side} positive)",
        " " * wide + "".join(f"{title:>{cell}}" for title, _ in columns),
    ]
    for name in names:
        cells = []
        for _, members in columns:
            auroc, fpr = (np.mean([rows[name, member][key] for member in members]) for key in ("auroc", "fpr95"))
            cells.append(f"{100 * auroc:.2f} / {100 * fpr:.2f}")
        lines.append(f"{name:<{wide}}" + "".join(f"{text:>{cell}}" for text in cells))
    return "\n".join(lines)
