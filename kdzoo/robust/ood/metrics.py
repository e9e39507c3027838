"""How well scores tell in-distribution from out-of-distribution: AUROC, AUPR, FPR at 95 % TPR, detection accuracy.

Three conventions are in use and give different numbers for the same scores, so the one taken is
always explicit (and printed by ``tools/eval_robust.py``):

- ``positive="id"`` (Hendrycks and Gimpel 2017, ODIN, Lee et al.): 95 % of the in-distribution samples are kept.
- ``positive="ood"`` (OpenOOD, pytorch-ood): 95 % of the out-of-distribution samples are caught.
- ``convention="lee"``: the script published with Lee et al. (NeurIPS 2018), for comparing with their tables only.
  It orders tied scores in-distribution first, takes the TPR nearest to 0.95 (which may lie below) and begins
  its precision curves at 0.5, so that even a perfect detector does not reach an AUPR of 1.
"""

from typing import Literal

import numpy as np


def ood_metrics(
    scores_id,
    scores_ood,
    positive: Literal["id", "ood"] = "id",
    convention: Literal["exact", "lee"] = "exact",
    aupr: Literal["trapezoid", "step"] = "trapezoid",
) -> dict[str, float]:
    """The six usual numbers; scores are higher for in-distribution.

    Args:
        scores_id: [N] scores of in-distribution samples, any array or tensor.
        scores_ood: [M] scores of the others.
        positive: which side the 95 % of ``fpr95`` and ``tnr95`` is taken of. "id": the highest threshold that
            keeps at least 95 % of the ID samples; ``fpr95`` is the share of OOD samples kept with them. "ood": the
            lowest threshold that flags at least 95 % of the OOD samples; ``fpr95`` is the share of ID samples flagged.
        convention: "exact" counts ties half; "lee" is what the published script computes (``positive="id"`` only).
        aupr: area under the precision-recall curve by trapezoids (OpenOOD, pytorch-ood) or in steps (average
            precision, scikit-learn).

    Returns:
        Shares in 0..1: ``auroc`` = P(ID > OOD) + P(ID = OOD) / 2, ``aupr_in`` (ID positive), ``aupr_out`` (OOD
        positive), ``fpr95``, ``tnr95`` = 1 - ``fpr95``, ``detection_accuracy`` = max over thresholds of
        (TPR + TNR) / 2.

    Raises:
        ValueError: an empty side, a score that is not finite, an unknown option.

    Example:
        >>> ood_metrics([3.0, 2.0, 1.0], [0.5, 0.0])["auroc"]
        1.0
    """
    if positive not in ("id", "ood"):
        raise ValueError(f"positive is expected to be 'id' or 'ood' but got {positive!r}")
    if convention not in ("exact", "lee"):
        raise ValueError(f"convention is expected to be 'exact' or 'lee' but got {convention!r}")
    if aupr not in ("trapezoid", "step"):
        raise ValueError(f"aupr is expected to be 'trapezoid' or 'step' but got {aupr!r}")
    known, unknown = _scores(scores_id, "scores_id"), _scores(scores_ood, "scores_ood")
    if convention == "lee":
        if positive != "id":
            raise ValueError("the convention of Lee et al. has ID as positive; use positive='id' with it")
        return _lee(known, unknown)
    tpr, fpr = roc_curve(known, unknown)
    # np.round keeps 0.95 of a round number of samples from falling below 0.95.
    caught = np.round(1 - fpr, 12)
    fpr95 = fpr[np.argmax(tpr >= 0.95)] if positive == "id" else 1 - tpr[_last(caught >= 0.95)]
    return dict(
        auroc=_area(tpr, fpr),
        aupr_in=_aupr(known, unknown, aupr),
        aupr_out=_aupr(-unknown, -known, aupr),
        fpr95=float(fpr95),
        tnr95=float(1 - fpr95),
        detection_accuracy=float((tpr + 1 - fpr).max() / 2),
    )


def roc_curve(scores_id, scores_ood) -> tuple[np.ndarray, np.ndarray]:
    """TPR and FPR at every threshold, ID positive, from (0, 0) to (1, 1).

    Tied scores are one point, so the area under the curve counts ties half.

    Returns:
        Two float64 arrays [T], both ascending.

    Example:
        >>> tpr, fpr = roc_curve([2.0, 1.0], [0.0])
    """
    counts_id, counts_ood = _counts(_scores(scores_id, "scores_id"), _scores(scores_ood, "scores_ood"))
    return np.r_[0, counts_id] / counts_id[-1], np.r_[0, counts_ood] / counts_ood[-1]


def _counts(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many of each lie at or above each distinct score, from the highest score down."""
    levels = np.unique(np.concatenate([positive, negative]))[::-1]
    return tuple(len(side) - np.searchsorted(np.sort(side), levels, side="left") for side in (positive, negative))


def _area(height: np.ndarray, at: np.ndarray) -> float:
    return float(((height[1:] + height[:-1]) / 2 * np.diff(at)).sum())


def _last(mask: np.ndarray) -> int:
    return len(mask) - 1 - int(np.argmax(mask[::-1]))


def _aupr(positive: np.ndarray, negative: np.ndarray, rule: str) -> float:
    hits, false = _counts(positive, negative)
    recall, precision = np.r_[0, hits] / hits[-1], np.r_[1, hits / (hits + false)]
    if rule == "step":
        return float((np.diff(recall) * precision[1:]).sum())
    return _area(precision, recall)


def _lee(known: np.ndarray, unknown: np.ndarray) -> dict[str, float]:
    # One sample leaves at each step, the lowest first, ID before OOD where they tie.
    order = np.argsort(np.concatenate([known, unknown]), kind="stable")
    leaves = order < len(known)
    hits = np.r_[len(known), len(known) - np.cumsum(leaves)]  # ID samples above the threshold
    false = np.r_[len(unknown), len(unknown) - np.cumsum(~leaves)]  # OOD samples above it
    tpr, fpr = hits / len(known), false / len(unknown)
    flagged = len(order) - hits - false
    above, below = hits + false > 0, flagged > 0
    precision_in = np.r_[0.5, hits[above] / (hits + false)[above], 0.0]
    precision_out = np.r_[0.0, (len(unknown) - false)[below] / flagged[below], 0.5]
    tnr95 = 1 - fpr[np.argmin(np.abs(tpr - 0.95))]
    return dict(
        auroc=-_area(1 - np.r_[1, fpr, 0], np.r_[1, tpr, 0]),
        aupr_in=-_area(precision_in, np.r_[1, tpr[above], 0]),
        aupr_out=_area(precision_out, np.r_[0, 1 - fpr[below], 1]),
        fpr95=float(1 - tnr95),
        tnr95=float(tnr95),
        detection_accuracy=float((tpr + 1 - fpr).max() / 2),
    )


def _scores(values, name: str) -> np.ndarray:
    values = values.detach().cpu().double().numpy() if hasattr(values, "detach") else values  # NumPy has no bfloat16
    values = np.asarray(values, dtype=np.float64).ravel()
    if not len(values):
        raise ValueError(f"{name} is empty; give at least one score on each side")
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise ValueError(f"{name} holds {bad} scores that are NaN or infinite; mend what computed them")
    return values
