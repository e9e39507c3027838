"""APGD as it is used in training (Croce and Hein, "Adversarial robustness against multiple norms", ICML 2022)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdzoo.registry import ATTACKS
from kdzoo.robust.attacks.apgd_run import RunResult, run_apgd
from kdzoo.robust.attacks.attack_loss import LOSSES, loss_for
from kdzoo.robust.attacks.budget import check_eps, verify_budget
from kdzoo.robust.attacks.checks import check_attack
from kdzoo.robust.attacks.evaluation_mode import evaluation_mode


@ATTACKS.register()
@dataclass
class APGDTrain:
    """A few steps of APGD from the image itself, which return the image of the highest loss.

    Args:
        norm: Linf, L2 or L1.
        eps: budget; default 8/255.
        steps: default 10, as in RAMP and E-AT on CIFAR-10.
        loss: ce (default) or dlr.

    Example:
        >>> adversarial = APGDTrain(norm="L1", eps=12)(model, images, target)
    """

    norm: str = "Linf"
    eps: float = 8 / 255
    steps: int = 10
    loss: str = "ce"

    def __post_init__(self):
        check_eps(self.eps, self.norm)
        if self.steps < 1 or self.loss not in ("ce", "dlr"):
            raise ValueError(f"expected steps >= 1 and a loss of ce and dlr but got {self.steps}, {self.loss!r}")

    def __call__(self, model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        with evaluation_mode(model):
            check_attack(model, images, target)
        best = apgd_train(model, images, target, self.norm, self.eps, self.steps, self.loss).best
        return verify_budget(best, images.detach(), self.norm, self.eps)


def apgd_train(
    model: nn.Module,
    images: Tensor,
    target: Tensor,
    norm: str = "Linf",
    eps: float = 8 / 255,
    steps: int = 10,
    loss: str = "ce",
    share: float = 0.05,
) -> RunResult:
    """Adversarial images to train on: ``best`` [B, ...] with its ``loss`` [B], and which are ``broken`` [B].

    It starts at the image, without noise, moves 5 % of the pixels first in L1 (20 % in evaluation), keeps every image
    to the last step and leaves out the last backward pass. Every step keeps to the budget, and nothing waits for the
    device: what :class:`APGDTrain` checks of images and labels is not checked here. The model is in evaluation mode
    while attacked and comes back as it was.

    Args:
        model: images in [0, 1] -> logits; in any mode.
        images: [B, ...] in [0, 1].
        target: [B].
        norm: Linf, L2 or L1.
        eps: budget.
        steps: default 10.
        loss: ce or dlr.
        share: L1 only, the share of the pixels that the first step moves.

    Example:
        >>> found = apgd_train(model, images, target, "L1", 12)
        >>> found.best, found.loss
    """
    check_eps(eps, norm, images[0].numel() if len(images) else None)
    if steps < 1:
        raise ValueError(f"steps is expected to be at least 1 but got {steps}")
    with torch.inference_mode(False), torch.no_grad(), evaluation_mode(model):
        images, target = images.detach().clone(), target.clone().long()
        if loss == "dlr":
            loss = loss_for(loss, model(images[:1]).shape[1])
        found = run_apgd(
            model, images, target, images, norm, eps, steps, LOSSES[loss], share=share, drop_broken=False,
            last_gradient=False,
        )  # fmt: skip
    return found
