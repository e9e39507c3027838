"""APGD in the short form that training uses: from the image itself, on cross entropy, a few steps."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.robust.attacks.ball import NORMS, expand, norm_of, project, sparse_sign


@dataclass
class Attacked:
    """The worst point found for each image.

    Args:
        images: [B, C, H, W] in [0, 1], within the budget; no gradient.
        loss: [B] float32, the cross entropy there.
        robust: [B] bool, the label was the top class at every point that was looked at.
    """

    images: Tensor
    loss: Tensor
    robust: Tensor


def apgd_train(
    model: nn.Module,
    images: Tensor,
    target: Tensor,
    norm: str = "Linf",
    eps: float = 8 / 255,
    steps: int = 10,
    topk: float = 0.05,
) -> Attacked:
    """Auto-PGD without a random start, for adversarial training: ``steps`` + 1 forwards, ``steps`` backwards.

    The step begins at 2 eps (L1: eps) and is halved where the loss stops rising, which also sends the point back to
    the best one so far. L1 steps move the largest entries of the gradient only. Nothing waits for the device.

    Args:
        model: images in [0, 1] -> logits [B, K], in evaluation mode.
        images: [B, C, H, W] in [0, 1].
        target: [B] true classes.
        norm: ``"Linf"``, ``"L2"`` or ``"L1"``.
        eps: the budget, of pixels in [0, 1].
        steps: gradient steps.
        topk: L1 only, the share of pixels that the first step moves (0.05 in training, 0.2 when evaluating).

    Raises:
        ValueError: an unknown norm, no step, a budget that is not above 0.

    Source: Croce and Hein, ICML 2020; the training form and its L1 step: Croce and Hein, ICML 2021 and 2022.

    Example:
        >>> worst = apgd_train(model.eval(), images, target, "L2", eps=0.5)
        >>> loss = F.cross_entropy(model.train()(worst.images), target)
    """
    check_budget(norm, eps, steps)
    images = images.detach()
    x = best = images
    before = images  # the point one step earlier
    loss, gradient, hit = _look(model, x, target, True)
    best_loss, best_gradient, robust = loss, gradient, hit
    control = _Sparsity(images, eps, topk, steps) if norm == "L1" else _Halving(loss, eps, steps)
    last_loss = loss
    for number in range(steps):
        if norm == "L1":
            moved = project(images, x + control.step * sparse_sign(gradient, control.topk), norm, eps)
        else:
            moved = _momentum_step(images, x, before, gradient, control.step, norm, eps, 0.75 if number else 1.0)
        before, x = x, moved
        loss, gradient, hit = _look(model, x, target, number < steps - 1)
        robust = robust & hit
        better = loss > best_loss
        best = torch.where(expand(better), x, best)
        best_loss = torch.where(better, loss, best_loss)
        if gradient is None:
            break
        best_gradient = torch.where(expand(better), gradient, best_gradient)
        back = control.update(loss > last_loss, best_loss, best)
        last_loss = loss
        if back is not None:
            x = torch.where(expand(back), best, x)
            gradient = torch.where(expand(back), best_gradient, gradient)
    return Attacked(best, best_loss, robust)


def check_budget(norm: str, eps: float, steps: int) -> None:
    """Refuse what no attack can work with."""
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
    if not eps > 0 or steps < 1:
        raise ValueError(f"eps must be above 0 and steps at least 1, got {eps} and {steps}")


def _look(model: nn.Module, x: Tensor, target: Tensor, want_gradient: bool) -> tuple[Tensor, Tensor | None, Tensor]:
    """Cross entropy [B], its gradient [B, C, H, W] and where the label is the top class [B]."""
    # Gradients stay on in the last look as well: under autocast a forward without them would leave the student's
    # cast weights, cut off from their gradient, in the cache of the training forward.
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x).float()
        loss = F.cross_entropy(logits, target, reduction="none")
        gradient = torch.autograd.grad(loss.sum(), x)[0] if want_gradient else None
    return loss.detach(), gradient, logits.detach().argmax(dim=1) == target


def _momentum_step(
    images: Tensor, x: Tensor, before: Tensor, gradient: Tensor, step: Tensor, norm: str, eps: float, share: float
) -> Tensor:
    """One step of APGD in Linf or L2: ``share`` of a projected gradient step, the rest in the last direction."""
    direction = gradient.sign() if norm == "Linf" else gradient / (norm_of(gradient, "L2") + 1e-12)
    plain = project(images, x + step * direction, norm, eps)
    return project(images, x + share * (plain - x) + (1 - share) * (x - before), norm, eps)


class _Halving:
    """The step size of Linf and L2: halved, with a return to the best point, where the loss stops rising."""

    def __init__(self, loss: Tensor, eps: float, steps: int):
        self.step = torch.full((len(loss), 1, 1, 1), 2 * eps, dtype=loss.dtype, device=loss.device)
        self.window, self.shrink = max(int(0.22 * steps), 1), max(int(0.03 * steps), 1)
        self.least = max(int(0.06 * steps), 1)
        self.since, self.rises = 0, torch.zeros_like(loss)
        self.best_before = loss
        self.halved = torch.ones_like(loss, dtype=torch.bool)

    def update(self, rose: Tensor, best_loss: Tensor, best: Tensor) -> Tensor | None:
        """After each look; at a checkpoint, which points [B] go back to their best."""
        self.since, self.rises = self.since + 1, self.rises + rose
        if self.since < self.window:
            return None
        stuck = ~self.halved & (best_loss <= self.best_before)
        halve = stuck | (self.rises <= 0.75 * self.window)
        self.step = torch.where(expand(halve), self.step / 2, self.step)
        self.halved, self.best_before = halve, best_loss
        self.since, self.rises = 0, torch.zeros_like(best_loss)
        self.window = max(self.window - self.shrink, self.least)
        return halve


class _Sparsity:
    """The step size of L1 and the share of pixels it moves, both read off the best perturbation so far."""

    def __init__(self, images: Tensor, eps: float, topk: float, steps: int):
        self.images, self.eps = images, eps
        self.pixels = images[0].numel()
        self.step = torch.full((len(images), 1, 1, 1), eps, dtype=images.dtype, device=images.device)
        self.topk = torch.full((len(images),), topk, dtype=images.dtype, device=images.device)
        self.window, self.since = max(int(0.04 * steps), 1), 0
        self.before = torch.full_like(self.topk, self.pixels)

    def update(self, rose: Tensor, best_loss: Tensor, best: Tensor) -> Tensor | None:
        """After each look; at a checkpoint, which points [B] go back to their best."""
        self.since += 1
        if self.since < self.window:
            return None
        self.since = 0
        moved = (best != self.images).flatten(1).sum(dim=1).to(self.topk.dtype)  # [B]
        sparser = moved / self.before < 0.95
        self.topk, self.before = moved / self.pixels / 1.5, moved
        step = torch.where(expand(sparser), self.eps, self.step / 1.5)
        self.step = step.clamp(self.eps / 10, self.eps)
        return sparser
