"""Basic iterative method (Kurakin, Goodfellow and Bengio, ICLR workshop 2017)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdzoo.registry import ATTACKS
from kdzoo.robust.attacks.budget import check_eps, verify_budget
from kdzoo.robust.attacks.checks import check_attack
from kdzoo.robust.attacks.evaluation_mode import evaluation_mode
from kdzoo.robust.attacks.fgsm import into_box, loss_gradient


@ATTACKS.register()
@dataclass
class BIM:
    """Several small steps of FGSM, each kept within the budget.

    Args:
        eps: L-infinity budget, of pixels in [0, 1]; default 8/255.
        steps: default 10.
        step_size: default eps / 4.

    Example:
        >>> adversarial = BIM(eps=8 / 255, steps=10)(model, images, target)
    """

    eps: float = 8 / 255
    steps: int = 10
    step_size: float | None = None

    def __post_init__(self):
        check_eps(self.eps, "Linf")
        if self.steps < 1 or (self.step_size is not None and self.step_size <= 0):
            raise ValueError(f"expected steps >= 1 and step_size > 0 but got {self.steps}, {self.step_size}")

    def __call__(self, model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        return bim(model, images, target, self.eps, self.steps, self.step_size)


def bim(
    model: nn.Module,
    images: Tensor,
    target: Tensor,
    eps: float = 8 / 255,
    steps: int = 10,
    step_size: float | None = None,
) -> Tensor:
    """Adversarial images of a batch: [B, C, H, W] in [0, 1], at most eps from ``images`` in every pixel.

    Args:
        model: images in [0, 1] -> logits, in evaluation mode.
        images: [B, C, H, W] in [0, 1].
        target: [B] true classes.
        eps: L-infinity budget.
        steps: number of steps.
        step_size: of each; ``None``: eps / 4.
    """
    check_eps(eps, "Linf")
    step_size = eps / 4 if step_size is None else step_size
    with torch.inference_mode(False), evaluation_mode(model):
        images, target = images.detach().clone(), target.clone()
        check_attack(model, images, target)
        target = target.long()
        x = images
        for _ in range(steps):
            x = into_box(x + step_size * loss_gradient(model, x, target).sign(), images, eps)
    return verify_budget(x, images, "Linf", eps)
