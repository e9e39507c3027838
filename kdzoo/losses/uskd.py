"""USKD as a module, with its weak head."""

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.functional.checks import check_weight, full_precision, widen
from kdzoo.losses.functional.uskd import RANK_MODES
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class USKD(nn.Module):
    """Self-distillation without a teacher; see :func:`kdzoo.losses.functional.uskd`.

    The weak head, Linear(D, C) on the mean over the positions of a stage map before the last, is part of
    this loss: it trains with the student, and the student is saved without it. Published beside
    cross-entropy of weight 1.

    Args:
        alpha: weight of the target part; 1 on ImageNet, 0.1 on CIFAR-100.
        beta: weight of the non-target part, 0.1.
        mu: weight of the weak head's part; 0.005 on ImageNet, 0.1 on CIFAR-100.
        rank_mode: ``"official"`` as the authors' code ranks the classes, or ``"paper"``.
        stage: which stage map the weak head reads; -2, the last but one.
        student_example: an output with stage maps, which the head is made from.

    Example:
        >>> loss = USKD(alpha=0.1, beta=0.1, mu=0.1, student_example=student_output)
        >>> value = loss(student_output, None, target)
    """

    needs_features = True

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 0.1,
        mu: float = 0.005,
        rank_mode: str = "official",
        stage: int = -2,
        *,
        student_example: ModelOutput,
    ):
        super().__init__()
        self.alpha, self.beta = check_weight(alpha, "alpha"), check_weight(beta, "beta")
        self.mu = check_weight(mu, "mu")
        if rank_mode not in RANK_MODES:
            raise ValueError(f"rank_mode must be one of {RANK_MODES}, got {rank_mode!r}")
        self.rank_mode, self.stage = rank_mode, stage
        self.head = nn.Linear(self._mean(student_example).shape[1], student_example.logits.shape[1])

    def forward(self, student: ModelOutput, teacher: ModelOutput | None, target: Tensor) -> Tensor:
        with full_precision(student.logits):
            weak = self.head(self._mean(student))
        return KF.uskd(student.logits, weak, target, self.alpha, self.beta, self.mu, self.rank_mode)

    def _mean(self, student: ModelOutput) -> Tensor:
        """[B, D], the mean over the positions of the stage map [B, D, H, W] or the tokens [B, N, D]."""
        if not -len(student.features) <= self.stage < len(student.features):
            have = len(student.features)
            raise ValueError(f"stage must be one of the student's {have} stage maps, got {self.stage}")
        feature = widen(student.features[self.stage])
        return feature.mean((2, 3)) if feature.ndim == 4 else feature.mean(1)
