"""Projected gradient descent (Madry et al., ICLR 2018), in Linf, L2 and L1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.registry import ATTACKS
from kdzoo.robust.attacks.ascent import TINY, l1_step
from kdzoo.robust.attacks.budget import check_eps, verify_budget, within_budget
from kdzoo.robust.attacks.checks import check_attack, check_batch
from kdzoo.robust.attacks.evaluation_mode import evaluation_mode
from kdzoo.robust.attacks.projections import change_norm, per_image
from kdzoo.robust.attacks.start import apgd_start, start_noise

SHARE = 0.01  # of the pixels that an L1 step moves: those with the largest gradient (Tramer and Boneh, NeurIPS 2019)


@ATTACKS.register()
@dataclass
class PGD:
    """Steps of one size up the cross entropy, from random points in the ball.

    Args:
        norm: Linf, L2 or L1.
        eps: budget; default 8/255.
        steps: default 20.
        step_size: default 2.5 eps / steps, as in the MNIST and CIFAR-10 challenges of its authors.
        restarts: random starts; default 1. 0 steps from the image itself, once.
        seed: of the starts.

    Example:
        >>> adversarial = PGD(norm="L2", eps=0.5, steps=20)(model, images, target)
    """

    norm: str = "Linf"
    eps: float = 8 / 255
    steps: int = 20
    step_size: float | None = None
    restarts: int = 1
    seed: int = 0

    def __post_init__(self):
        check_eps(self.eps, self.norm)
        if self.steps < 1 or self.restarts < 0 or (self.step_size is not None and self.step_size <= 0):
            raise ValueError(
                "expected steps >= 1, restarts >= 0 and step_size > 0 but got "
                f"{self.steps}, {self.restarts}, {self.step_size}"
            )

    def __call__(
        self, model: nn.Module, images: Tensor, target: Tensor, numbers: Sequence[int] | None = None
    ) -> Tensor:
        check_batch(images, target)
        if not len(images):
            return images.clone()
        check_eps(self.eps, self.norm, images[0].numel())
        with torch.inference_mode(False), torch.no_grad(), evaluation_mode(model):
            images, target = images.detach().clone(), target.clone().long()
            check_attack(model, images, target)
            return verify_budget(self._attack(model, images, target, numbers), images, self.norm, self.eps)

    def _attack(self, model: nn.Module, images: Tensor, target: Tensor, numbers: Sequence[int] | None) -> Tensor:
        best, highest = images.clone(), images.new_full((len(images),), -math.inf)
        for draw in range(max(self.restarts, 1)):
            x = images
            if self.restarts:
                x = _inside(images, start_noise(images, self.seed, draw, numbers), self.norm, self.eps)
            for _ in range(self.steps):
                wrong, loss, gradient = _look(model, x, target)
                best, highest = _keep(best, highest, x, wrong, loss)
                x = self._step(x, gradient, images)
            wrong, loss, _ = _look(model, x, target)
            best, highest = _keep(best, highest, x, wrong, loss)
        return best

    def _step(self, x: Tensor, gradient: Tensor, images: Tensor) -> Tensor:
        step = 2.5 * self.eps / self.steps if self.step_size is None else self.step_size
        if self.norm == "L1":
            ones = x.new_ones(len(x))
            return l1_step(x, gradient, images, step * per_image(ones, x), SHARE * ones, self.eps)
        direction = gradient.sign()
        if self.norm == "L2":
            direction = gradient / (per_image(change_norm(gradient, "L2"), x) + TINY)
        return within_budget(x + step * direction, images, self.norm, self.eps)


def _look(model: nn.Module, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Whether misclassified [B], cross entropy [B] and its gradient [B, ...]."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        loss = F.cross_entropy(logits.float(), target, reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum(), x)
    return logits.detach().argmax(dim=1) != target, loss.detach(), gradient


def _keep(best: Tensor, highest: Tensor, x: Tensor, wrong: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
    """Misclassified points before all others, then the higher loss; an offset makes it one comparison."""
    score = torch.where(wrong, loss.double() + 1e6, loss.double())
    better = score > highest
    return torch.where(per_image(better, x), x, best), torch.where(better, score, highest.double())


def _inside(images: Tensor, noise: Tensor, norm: str, eps: float) -> Tensor:
    """A point in the ball: uniform pixels for Linf; for L2 and L1 a random direction as far as the budget goes."""
    if norm == "Linf":
        return within_budget(images + eps * torch.erf(noise / 2**0.5), images, norm, eps)
    return within_budget(apgd_start(images, noise, norm, eps), images, norm, eps)


def pgd(
    model: nn.Module,
    images: Tensor,
    target: Tensor,
    norm: str = "Linf",
    eps: float = 8 / 255,
    steps: int = 20,
    step_size: float | None = None,
    restarts: int = 1,
    seed: int = 0,
) -> Tensor:
    """Adversarial images of a batch: [B, ...] in [0, 1], at most ``eps`` away in ``norm``.

    Of all points visited, a misclassified one comes back where there is one, else the one of the highest loss.

    Args:
        model: images in [0, 1] -> logits; in evaluation mode meanwhile.
        images: [B, ...] in [0, 1].
        target: [B] true classes.
        norm, eps, steps, step_size, restarts, seed: as of :class:`PGD`.

    Example:
        >>> adversarial = pgd(model, images, target, "Linf", 8 / 255)
    """  # fmt: skip
    return PGD(norm, eps, steps, step_size, restarts, seed)(model, images, target)
