"""The L2 attack of Carlini and Wagner (IEEE S&P 2017)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdzoo.registry import ATTACKS
from kdzoo.robust.attacks.budget import check_eps, verify_budget
from kdzoo.robust.attacks.checks import check_attack
from kdzoo.robust.attacks.evaluation_mode import evaluation_mode


@ATTACKS.register()
@dataclass
class CW:
    """The smallest change that makes another class win, by gradient descent and a search for the trade-off.

    Args:
        steps: of Adam for each trade-off (default 100; the paper takes 10,000).
        searches: trade-offs tried, by doubling and bisection (default 5).
        lr: of Adam (default 0.01, as in the paper).
        confidence: by which the other class's logit has to win (default 0).
        eps: L2 budget; ``None`` (default): none, as in the paper. An image that needs more comes back as it is.

    Example:
        >>> adversarial = CW(steps=50)(model, images, target)
    """

    steps: int = 100
    searches: int = 5
    lr: float = 0.01
    confidence: float = 0.0
    eps: float | None = None

    def __post_init__(self):
        if self.eps is not None:
            check_eps(self.eps, "L2")
        if self.steps < 1 or self.searches < 1 or self.lr <= 0:
            raise ValueError(
                f"expected steps >= 1, searches >= 1 and lr > 0 but got {self.steps}, {self.searches}, {self.lr}"
            )

    def __call__(self, model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        return cw(model, images, target, self.steps, self.searches, self.lr, self.confidence, self.eps)


def cw(
    model: nn.Module,
    images: Tensor,
    target: Tensor,
    steps: int = 100,
    searches: int = 5,
    lr: float = 0.01,
    confidence: float = 0.0,
    eps: float | None = None,
) -> Tensor:
    """Adversarial images of a batch, [B, C, H, W] in [0, 1]; images that could not be changed come back as they are.

    Args:
        model: images in [0, 1] -> logits, in evaluation mode.
        images: [B, C, H, W] in [0, 1].
        target: [B] true classes.
        steps, searches, lr, confidence, eps: as of :class:`CW`.
    """
    if eps is not None:
        check_eps(eps, "L2", images[0].numel() if len(images) else None)
    with torch.inference_mode(False), evaluation_mode(model):
        images, target = images.detach().clone(), target.clone()
        check_attack(model, images, target)
        found = _attack(model, images, target.long(), steps, searches, lr, confidence, eps)
        return verify_budget(found, images, "L2", eps)


def _attack(
    model: nn.Module,
    images: Tensor,
    target: Tensor,
    steps: int,
    searches: int,
    lr: float,
    confidence: float,
    eps: float | None,
) -> Tensor:
    """The search for each image's trade-off."""
    count = len(images)
    best = images.clone()
    shortest = images.new_full((count,), float("inf") if eps is None else (eps * (1 - 1e-6)) ** 2)
    low, high = images.new_zeros(count), images.new_full((count,), float("inf"))
    trade = images.new_full((count,), 1.0)
    for _ in range(searches):
        found = _search(model, images, target, trade, steps, lr, confidence, best, shortest)
        high, low = torch.where(found, trade, high), torch.where(found, low, trade)
        trade = torch.where(high.isinf(), 10 * trade, (low + high) / 2)
    return best


def _search(
    model: nn.Module,
    images: Tensor,
    target: Tensor,
    trade: Tensor,
    steps: int,
    lr: float,
    confidence: float,
    best: Tensor,
    shortest: Tensor,
) -> Tensor:
    """Adam at one trade-off; puts what is nearer than before into ``best``. Which images were changed, [B]."""
    found = torch.zeros_like(target, dtype=torch.bool)
    with torch.enable_grad():
        # tanh keeps pixels in [0, 1]; a little inside, where its inverse is finite.
        free = torch.atanh((2 * images - 1) * (1 - 1e-6)).requires_grad_()
        optimizer = torch.optim.Adam([free], lr=lr)
        for _ in range(steps):
            x = (free.tanh() + 1) / 2
            logits = model(x)
            own = logits.gather(1, target[:, None]).squeeze(1)
            other = logits.scatter(1, target[:, None], float("-inf")).amax(dim=1)
            distance = (x - images).flatten(1).square().sum(dim=1)
            with torch.no_grad():
                won = other - own > confidence
                found |= won
                nearer = won & (distance < shortest)
                # Not best[nearer] = ..., which would wait for the device to count them.
                torch.where(nearer[:, None, None, None], x, best, out=best)
                torch.where(nearer, distance, shortest, out=shortest)
            loss = distance + trade * (own - other + confidence).clamp_min(0)
            optimizer.zero_grad()
            (free.grad,) = torch.autograd.grad(loss.sum(), free)
            optimizer.step()
    return found
