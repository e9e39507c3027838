"""MSD: one attack whose every step goes the way of the norm that raises the loss most."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.registry import OBJECTIVES
from kdzoo.robust.attacks.budget import project
from kdzoo.robust.attacks.evaluation_mode import evaluation_mode
from kdzoo.robust.attacks.projections import NORMS, per_image
from kdzoo.robust.objectives.adversarial import AdversarialObjective, cross_entropy
from kdzoo.robust.objectives.ascend import steepest


@OBJECTIVES.register()
class MSD(AdversarialObjective):
    """Multi steepest descent: cross entropy on perturbations that wander between the norms' balls.

    A step computes the gradient once, takes the steepest step of every norm, projects each onto its own ball and keeps,
    image by image, the one of highest loss.

    Args:
        norms: all three by default.
        eps: budgets, see :class:`AdversarialObjective`.
        steps: of the attack, one number; default 10.
        step_size: of a step, as a share of each norm's eps; default 2.5 / steps (our choice).

    Source: Maini, Wong and Kolter, Adversarial Robustness Against the Union of Multiple Perturbation Models, ICML 2020.
    Their L1 step moves a few random pixels out of the largest; ours the largest 5 %.

    Example:
        >>> losses = [dict(type="MSD")]
    """

    def __init__(
        self,
        norms: tuple | list = NORMS,
        eps: float | dict | None = None,
        steps: int = 10,
        step_size: float | None = None,
    ):
        super().__init__(norms, eps, steps, step_size)
        self.count, self.step_size = steps, 2.5 / steps if step_size is None else step_size

    def forward(
        self, student: nn.Module, teacher: nn.Module | None, images: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(loss, logits [B, K] on the attacked images)."""
        with evaluation_mode(student):
            worst = self.wander(student, images.detach(), target)
        logits = student(worst)
        return cross_entropy(logits, target), logits

    def wander(self, student: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        """The perturbed images [B, C, H, W] after all steps; each within the ball of one of the norms."""

        def loss_of(x: Tensor) -> Tensor:  # [B]
            return F.cross_entropy(student(x).float(), target, reduction="none")

        x = images
        for _ in range(self.count):
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(loss_of(x).sum(), x)
            best = loss = None
            for norm in self.norms:
                eps = self.eps[norm]
                moved = project(images, x.detach() + self.step_size * eps * steepest(gradient, norm), norm, eps)
                value = loss_of(moved).detach()
                if best is None:
                    best, loss = moved, value
                else:
                    best = torch.where(per_image(value > loss, images), moved, best)
                    loss = torch.maximum(loss, value)
            x = best
        return x.detach()
