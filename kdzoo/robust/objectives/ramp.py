"""RAMP: cross entropy on the worse of two attacks, and their predictions drawn together."""

from typing import Literal

import torch
from torch import Tensor, nn

from kdzoo.registry import OBJECTIVES
from kdzoo.robust.attacks.logit_pairing import ramp_logit_pairing
from kdzoo.robust.attacks.projections import per_image
from kdzoo.robust.objectives.adversarial import AdversarialObjective, cross_entropy, kl


@OBJECTIVES.register()
class RAMP(AdversarialObjective):
    """RAMP: :math:`CE(f(x_{best}), y) + \\lambda\\, L_{pairing}(f(x_q), f(x_r))`, see ``ramp_logit_pairing``.

    x_q and x_r are attacked in the two norms of the key pair; x_best is, image by image, the one with the higher loss.
    Training from scratch also takes ``project_gradients = dict(beta=0.5)`` in the config.

    Args:
        lambda_: weight of the pairing. Paper: 0.5 for fine-tuning, 2 or 5 from scratch; its code: 1.5 for fine-tuning
            (the default), 5 from scratch.
        pair: the key trade-off pair (q, r): the two norms of lowest robust accuracy when each is trained for alone,
            the lowest first. Default Linf and L1, which CIFAR's and ImageNet's budgets give; measure that of other
            budgets with ``kdzoo.robust.objectives.key_pair``.
        distance: ``"kl"``, or a variant of ``ramp_logit_pairing``.
        trades: weight of TRADES's KL(f(x) || f(x_best)) beside cross entropy on clean images, in the place of cross
            entropy on x_best; the paper's WRN-28-10 setting has 6. ``None``: not used.
        eps, steps: budgets and attack steps, see :class:`AdversarialObjective`.

    Batch norm sees three batches a step, as in the published code (with ``trades`` four).

    Source: Jiang and Singh, NeurIPS 2024.

    Example:
        >>> losses = [dict(type="RAMP", lambda_=1.5)]
    """

    def __init__(
        self,
        lambda_: float = 1.5,
        pair: tuple | list = ("Linf", "L1"),
        distance: Literal["kl", "mse", "published_mse", "cosine"] = "kl",
        trades: float | None = None,
        eps: float | dict | None = None,
        steps: int | dict = 10,
    ):
        super().__init__(pair, eps, steps)
        if len(self.norms) != 2 or self.norms[0] == self.norms[1]:
            raise ValueError(f"pair must be two different norms, got {list(pair)}")
        if lambda_ < 0 or (trades is not None and trades < 0):
            raise ValueError(f"lambda_ and trades must be 0 or more, got {lambda_} and {trades}")
        self.lambda_, self.distance, self.trades = lambda_, distance, trades

    def forward(
        self, student: nn.Module, teacher: nn.Module | None, images: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(loss, logits [B, K] on the worse of the two attacks)."""
        q, r = (self.attack(student, images, target, norm) for norm in self.norms)
        worst = torch.where(per_image(q.loss > r.loss, images), q.best, r.best)
        logits_r, logits_q = student(r.best), student(q.best)
        logits = student(worst)
        if self.trades is None:
            loss = cross_entropy(logits, target)
        else:
            clean = student(images)
            loss = cross_entropy(clean, target) + self.trades * kl(clean, logits).mean()
        return loss + self.lambda_ * ramp_logit_pairing(logits_q, logits_r, target, self.distance), logits
