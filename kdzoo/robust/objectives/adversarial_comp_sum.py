"""The smooth adversarial comp-sum loss, on images that move the margins most."""

import torch
from torch import Tensor, nn

from kdzoo.losses.functional.comp_sum import smooth_adversarial_comp_sum
from kdzoo.registry import OBJECTIVES
from kdzoo.robust.attacks.evaluation_mode import evaluation_mode
from kdzoo.robust.objectives.adversarial import AdversarialObjective
from kdzoo.robust.objectives.ascend import ascend


@OBJECTIVES.register()
class AdversarialCompSum(AdversarialObjective):
    """Comp-sum loss on clean images plus a penalty on the margins' shift, see ``smooth_adversarial_comp_sum``.

    The attack is gradient ascent on the penalty itself, the Euclidean norm of the shift of all margins.

    Args:
        tau, rho, nu: of the loss.
        norm: of the attack; default Linf.
        eps, steps: budget and attack steps, see :class:`AdversarialObjective`; default 8/255 and 10.
        step_size: of the attack; default eps / 4.

    Source: Mao, Mohri and Zhong, ICML 2023; the formula's standing is told at the function.

    Example:
        >>> losses = [dict(type="AdversarialCompSum", tau=1.0, nu=1.0)]
    """

    def __init__(
        self,
        tau: float = 1.0,
        rho: float = 1.0,
        nu: float = 1.0,
        norm: str = "Linf",
        eps: float | dict | None = None,
        steps: int | dict = 10,
        step_size: float | None = None,
    ):
        super().__init__((norm,), eps, steps, step_size)
        if tau < 0 or nu < 0 or not rho > 0:
            raise ValueError(f"tau and nu must be 0 or more and rho above 0, got {tau}, {nu} and {rho}")
        self.tau, self.rho, self.nu = tau, rho, nu

    def forward(
        self, student: nn.Module, teacher: nn.Module | None, images: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(loss, logits [B, K] on the clean images)."""
        (norm,) = self.norms
        with evaluation_mode(student):
            before = student(images).detach().float()

        def shift(after: Tensor) -> Tensor:  # [B]
            moved = after - before
            return torch.linalg.vector_norm(moved - moved.gather(1, target[:, None]), dim=1)

        attacked = ascend(student, images, shift, norm, self.eps[norm], self.steps[norm], self.step_size)
        clean, perturbed = student(images), student(attacked)
        with torch.autocast(images.device.type, enabled=False):
            loss = smooth_adversarial_comp_sum(clean.float(), perturbed.float(), target, self.tau, self.rho, self.nu)
        return loss, clean
