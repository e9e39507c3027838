"""IAD: the student trusts its teacher less where the attack fools the teacher too, and itself more."""

import torch
from torch import Tensor, nn

from kdzoo.registry import OBJECTIVES
from kdzoo.robust.objectives.adversarial import AdversarialObjective, cross_entropy, kl


@OBJECTIVES.register()
class IAD(AdversarialObjective):
    """Introspective adversarial distillation (IAD-I), as its published code has it:

    :math:`t^2\\, KL(T_t(x) \\| S_t(x')) + (1 - T(x')_y^\\beta)\\, KL(S(x) \\| S(x'))`, both times alpha, and
    :math:`(1 - \\alpha)\\, CE(S(x), y)`. The trust :math:`T(x')_y` is the teacher's probability of the label under the
    student's attack. The student's own clean prediction gets gradients. Until ``begin`` the second term is off.

    Args:
        beta: exponent of the trust; 0.1 as published for CIFAR-10.
        begin: the epoch, counted from 0, in which the student begins to look at itself; 60 of 200 as published.
        temperature: t; 1 as published.
        alpha: weight of both divergences; 1 as published.
        norm: of the attack; default Linf.
        eps, steps: budget and attack steps, see :class:`AdversarialObjective`. The attack is APGD (published: PGD with
            a random start).

    Source: Zhu et al., Reliable Adversarial Distillation with Unreliable Teachers, ICLR 2022.

    Example:
        >>> losses = [dict(type="IAD", beta=0.1, begin=60)]
    """

    needs_teacher = True

    def __init__(
        self,
        beta: float = 0.1,
        begin: int = 60,
        temperature: float = 1.0,
        alpha: float = 1.0,
        norm: str = "Linf",
        eps: float | dict | None = None,
        steps: int | dict = 10,
    ):
        super().__init__((norm,), eps, steps)
        if beta < 0 or begin < 0 or not temperature > 0 or not 0 <= alpha <= 1:
            message = "beta and begin must be 0 or more, temperature above 0 and alpha from 0 to 1"
            raise ValueError(f"{message}, got {beta}, {begin}, {temperature} and {alpha}")
        self.beta, self.begin, self.temperature, self.alpha = beta, begin, temperature, alpha
        self.looks_inside = begin == 0

    def set_epoch(self, epoch: int) -> None:
        """Turn the student's own term on from epoch ``begin``."""
        self.looks_inside = epoch >= self.begin

    def forward(self, student: nn.Module, teacher: nn.Module, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """(loss, logits [B, K] on the attacked images)."""
        attacked = self.attack(student, images, target, self.norms[0]).best
        with torch.no_grad():
            taught = teacher(images)
        logits = student(attacked)
        loss = self.temperature**2 * kl(taught, logits, self.temperature).mean()
        clean = student(images) if self.looks_inside or self.alpha < 1 else None
        if self.looks_inside:
            with torch.no_grad():
                trust = teacher(attacked).float().softmax(dim=1).gather(1, target[:, None])[:, 0] ** self.beta
            loss = loss + ((1 - trust) * kl(clean, logits)).mean()
        loss = self.alpha * loss
        if self.alpha < 1:
            loss = loss + (1 - self.alpha) * cross_entropy(clean, target)
        return loss, logits
