"""Fast gradient sign method (Goodfellow, Shlens and Szegedy, ICLR 2015)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.registry import ATTACKS
from kdzoo.robust.attacks.budget import check_eps, verify_budget
from kdzoo.robust.attacks.checks import check_attack
from kdzoo.robust.attacks.evaluation_mode import evaluation_mode


@ATTACKS.register()
@dataclass
class FGSM:
    """One step of size eps along the sign of the gradient of the cross entropy.

    Args:
        eps: L-infinity budget, of pixels in [0, 1]; default 8/255, usual for CIFAR.

    Example:
        >>> adversarial = FGSM(eps=8 / 255)(model, images, target)
    """

    eps: float = 8 / 255

    def __post_init__(self):
        check_eps(self.eps, "Linf")

    def __call__(self, model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        return fgsm(model, images, target, self.eps)


def fgsm(model: nn.Module, images: Tensor, target: Tensor, eps: float = 8 / 255) -> Tensor:
    """Adversarial images of a batch: [B, C, H, W] in [0, 1], at most eps from ``images`` in every pixel.

    Args:
        model: images in [0, 1] -> logits, in evaluation mode.
        images: [B, C, H, W] in [0, 1].
        target: [B] true classes.
        eps: L-infinity budget.
    """
    check_eps(eps, "Linf")
    with torch.inference_mode(False), evaluation_mode(model):
        images, target = images.detach().clone(), target.clone()
        check_attack(model, images, target)
        target = target.long()
        gradient = loss_gradient(model, images, target)
    return verify_budget(images + eps * gradient.sign(), images, "Linf", eps)


def loss_gradient(model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """Gradient [B, C, H, W] of the summed cross entropy with respect to the images."""
    with torch.inference_mode(False), torch.enable_grad():
        x = images.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), target, reduction="sum"), x)
    return gradient


def into_box(x: Tensor, images: Tensor, eps: float) -> Tensor:
    """The nearest point that is in [0, 1] and at most eps from the images in every pixel."""
    return torch.minimum(torch.maximum(x, images - eps), images + eps).clamp(0, 1)
