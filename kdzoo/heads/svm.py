"""One-vs-rest support vector machine with squared (or plain) hinge as a network's last layer."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.heads.checks import check_features, check_labels, check_sizes
from kdzoo.kernels.dispatch import fused
from kdzoo.registry import HEADS

REDUCTIONS = ("mean", "batchmean", "sum", "none")
REGULARISERS = ("mean", "half_sum", None)
DECISIONS = ("argmax", "sign")


def l2_svm_loss(
    scores: Tensor,
    target: Tensor,
    C: float = 1.0,
    weight: Tensor | None = None,
    reduction: str = "mean",
    regulariser: str | None = "half_sum",
    power: int = 2,
) -> Tensor:
    r""":math:`R(W) + C \sum_k \max(0, 1 - t_k z_k)^2` with t = +1 for the label's class and -1 for the others.

    Args:
        scores: z, [B, K] signed distances, computed on in float32 or wider.
        target: class indices [B].
        C: weight of the hinge, above 0 (both papers of Agarap: 1 for the CNN, 0.5 for the GRU).
        weight: the classifier's [K, D], for the regulariser R; ``None`` leaves it to the optimizer's weight decay.
        reduction: of the hinge. ``"mean"`` over images and classes (Agarap's CNN-SVM), ``"batchmean"`` over
            images of the sum over classes (Tang), ``"sum"`` over both (Agarap's GRU-SVM), ``"none"``: [B], sums over
            classes. C means something else in each: K times, and B K times, as much.
        regulariser: ``"half_sum"`` is |W|^2 / 2 (the textbook's and the GRU-SVM's), ``"mean"`` the mean of W^2
            (the CNN-SVM's); never on the bias. Only where ``weight`` is given.
        power: 2 for the squared hinge, 1 for the plain one.

    Raises:
        ValueError: a wrong shape or type, a class out of range, or an unknown choice.

    Source: Tang, Deep Learning using Linear Support Vector Machines, 2013; the two reductions and regularisers as
    in the code of Agarap, An Architecture Combining CNN and SVM for Image Classification, 2017, and A Neural
    Network Architecture Combining GRU and SVM for Intrusion Detection, 2017.

    Example:
        >>> loss = l2_svm_loss(head(features), labels, C=1.0, weight=head.weight, regulariser="mean")
        >>> loss.backward()
    """
    check_svm(C, reduction, regulariser, power)
    if scores.ndim != 2 or not scores.is_floating_point():
        raise ValueError(f"scores must be floating [B, K], got {scores.dtype} {list(scores.shape)}")
    given, scores = scores, check_features(scores, scores.shape[1], "scores")
    target = check_labels(target, scores)
    rows = fused("l2_svm", "auto", given, None, target, "none", C=1.0) if power == 2 else None  # [B]
    if rows is None:
        sign = F.one_hot(target, scores.shape[1]).to(scores.dtype) * 2 - 1  # [B, K]
        rows = (1 - sign * scores).clamp_min(0).pow(power).sum(dim=1)
    loss = C * _reduce(rows, reduction, scores.shape[1])
    if weight is None or regulariser is None:
        return loss
    squares = weight.to(scores.dtype).square()
    return loss + (squares.mean() if regulariser == "mean" else squares.sum() / 2)


def _reduce(rows: Tensor, reduction: str, classes: int) -> Tensor:
    if reduction == "mean":
        return rows.mean() / classes
    return {"batchmean": rows.mean, "sum": rows.sum, "none": lambda: rows}[reduction]()


def check_svm(C: float, reduction: str, regulariser: str | None, power: int) -> None:
    if not 0 < C < float("inf"):
        raise ValueError(f"C must be above 0 and finite, got {C}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    if regulariser not in REGULARISERS:
        raise ValueError(f"regulariser must be 'mean', 'half_sum' or None, got {regulariser!r}")
    if power not in (1, 2):
        raise ValueError(f"power must be 1 or 2, got {power}")


def svm_predict(scores: Tensor, decision: str = "argmax") -> Tensor:
    """The class of each row of scores [B, K], as [B] int64; the first of several that tie.

    ``"argmax"`` takes the largest score. ``"sign"`` is the rule both papers' code reports: the argmax of the
    scores' signs, which is the first class with a positive score (else the first at 0, else class 0), however
    large the others are.

    Example:
        >>> svm_predict(torch.tensor([[0.2, 0.9, -1.0]])), svm_predict(torch.tensor([[0.2, 0.9, -1.0]]), "sign")
        (tensor([1]), tensor([0]))
    """
    if decision not in DECISIONS:
        raise ValueError(f"decision must be 'argmax' or 'sign', got {decision!r}")
    return (signed(scores) if decision == "sign" else scores).argmax(dim=1)


def signed(scores: Tensor) -> Tensor:
    """Signs of [B, K], less a small step from class to class, so that of equal signs the first is the largest."""
    steps = torch.linspace(0, 0.5, scores.shape[1], device=scores.device, dtype=scores.dtype)
    return scores.sign() - steps


@HEADS.register()
class SVMHead(nn.Linear):
    """A linear one-vs-rest SVM: scores [B, K] that are signed distances, no probabilities.

    Put on a backbone it starts from that network's own initialisation of its classifier. For probabilities,
    calibrate the scores (``kdzoo.heads.TemperatureScaling`` or ``PlattScaling``).

    Args:
        in_features: D.
        num_classes: K.
        C, reduction, regulariser, power: of :func:`l2_svm_loss`; the defaults are the CNN-SVM's.
        decision: ``"argmax"``; with ``"sign"`` the head returns in evaluation mode what makes any argmax the papers'
            (the signs; no scores to take a likelihood of).
        bias: whether there is one.

    Example:
        >>> head = SVMHead(1024, 10)
        >>> loss = head.loss(head(features), labels)
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        C: float = 1.0,
        reduction: Literal["mean", "batchmean", "sum"] = "mean",
        regulariser: Literal["mean", "half_sum"] | None = "mean",
        power: int = 2,
        decision: Literal["argmax", "sign"] = "argmax",
        bias: bool = True,
    ):
        check_sizes(in_features, num_classes)
        check_svm(C, reduction, regulariser, power)
        if reduction == "none":
            raise ValueError("a head's loss is one number; reduction must be 'mean', 'batchmean' or 'sum', got 'none'")
        if decision not in DECISIONS:
            raise ValueError(f"decision must be 'argmax' or 'sign', got {decision!r}")
        super().__init__(in_features, num_classes, bias)
        self.C, self.reduction, self.regulariser, self.power = C, reduction, regulariser, power
        self.decision = decision

    def forward(self, features: Tensor) -> Tensor:
        scores = super().forward(features)
        return signed(scores) if self.decision == "sign" and not self.training else scores

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar; ``logits`` are this head's scores [B, K], ``target`` class indices [B]."""
        return l2_svm_loss(logits, target, self.C, self.weight, self.reduction, self.regulariser, self.power)
