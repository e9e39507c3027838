"""The auxiliary head of dual-head distillation: logits of its own on the student's pooled features."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.losses.functional.checks import full_precision, widen
from kdzoo.output import ModelOutput


class AuxHead(nn.Module):
    """[B, D] -> [B, C]. A part of the loss, so that the student is saved, and run, without it.

    Args:
        kind: ``"linear"``: Linear(D, C), for a teacher of the student's family; ``"nonlinear"``:
            Linear(D, 200), Dropout(0.1), BatchNorm1d, ReLU, Linear(200, C).
        width: D.
        num_classes: C.
        hidden: 200 as in the authors' code.
        dropout: 0.1 as in the authors' code.

    Source: Yang et al., Dual-Head Knowledge Distillation, KDD 2025.
    """

    def __init__(self, kind: str, width: int, num_classes: int, hidden: int = 200, dropout: float = 0.1):
        super().__init__()
        if kind not in ("linear", "nonlinear"):
            raise ValueError(f"head must be 'linear' or 'nonlinear', got {kind!r}")
        if hidden < 1 or not 0 <= dropout < 1:
            raise ValueError(f"hidden must be 1 or more and dropout in [0, 1), got {hidden} and {dropout}")
        self.linear = kind == "linear"
        if not self.linear:
            self.widen, self.dropout = nn.Linear(width, hidden), nn.Dropout(dropout)
            self.norm = nn.BatchNorm1d(hidden)
        self.classify = nn.Linear(width if self.linear else hidden, num_classes)

    def forward(self, pooled: Tensor) -> Tensor:
        with full_precision(pooled):
            x = widen(pooled)
            return self.classify(x if self.linear else F.relu(self._normalise(self.dropout(self.widen(x)))))

    def _normalise(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            return self.norm(x)
        norm = self.norm  # one image has no variance: the running statistics stand in
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


def build_aux_head(
    kind: Literal["linear", "nonlinear"], student: ModelOutput | None, hidden: int, dropout: float
) -> AuxHead | None:
    """A head for a student with such an output; ``None`` for one that has ``aux_logits`` itself, or without example."""
    if student is None or student.aux_logits is not None:
        return None
    if student.pooled is None:
        raise ValueError("an auxiliary head needs the student's pooled features, its example output has none")
    return AuxHead(kind, student.pooled.shape[1], student.logits.shape[1], hidden, dropout)


def aux_logits(head: AuxHead | None, student: ModelOutput) -> Tensor:
    """[B, C] of the head; without one the student's own auxiliary logits, or where it has none its logits."""
    if head is not None:
        return head(student.pooled)
    return student.logits if student.aux_logits is None else student.aux_logits
