"""RSLAD: the robust teacher's soft labels everywhere, in the attack as well."""

import torch
from torch import Tensor, nn

from kdzoo.registry import OBJECTIVES
from kdzoo.robust.objectives.adversarial import AdversarialObjective, kl
from kdzoo.robust.objectives.ascend import ascend


@OBJECTIVES.register()
class RSLAD(AdversarialObjective):
    """:math:`\\alpha\\, KL(T(x) \\| S(x')) + (1 - \\alpha)\\, KL(T(x) \\| S(x))`; x' maximises the first divergence.

    No label is used. The published code takes the mean over classes as well and, for CIFAR-100, ten times that; here
    the divergence is the sum over classes, the mean over the batch.

    Args:
        alpha: weight of the attacked images; 5/6 as in the paper.
        norm: of the attack; default Linf.
        eps, steps: budget and attack steps, see :class:`AdversarialObjective`; default 8/255 and 10.
        step_size: of the attack; default eps / 4.

    Source: Zi, Zhao, Ma and Jiang, Revisiting Adversarial Robustness Distillation: Robust Soft Labels Make Student
    Better, ICCV 2021.

    Example:
        >>> losses = [dict(type="RSLAD")]
    """

    needs_teacher = True

    def __init__(
        self,
        alpha: float = 5 / 6,
        norm: str = "Linf",
        eps: float | dict | None = None,
        steps: int | dict = 10,
        step_size: float | None = None,
    ):
        super().__init__((norm,), eps, steps, step_size)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be from 0 to 1, got {alpha}")
        self.alpha = alpha

    def forward(self, student: nn.Module, teacher: nn.Module, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """(loss, logits [B, K] on the attacked images)."""
        (norm,) = self.norms
        with torch.no_grad():
            taught = teacher(images)
        attacked = ascend(
            student, images, lambda logits: kl(taught, logits), norm, self.eps[norm], self.steps[norm], self.step_size
        )
        logits = student(attacked)
        clean = student(images)
        return self.alpha * kl(taught, logits).mean() + (1 - self.alpha) * kl(taught, clean).mean(), logits
