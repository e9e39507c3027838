"""The L2 attack of Carlini and Wagner (IEEE S&P 2017)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdzoo.registry import ATTACKS
from kdzoo.robust.attacks.budget import check_eps, verify_budget
from kdzoo.robust.attacks.checks import check_attack
from kdzoo.robust.attacks.evaluation_mode import evaluation_mode
from kdzoo.robust.attacks.projections import per_image

REACH = 10.0  # steps times lr: pixels at 0 and 1 begin at +-7.25 in tanh's space, whose flat ends this crosses


@ATTACKS.register()
@dataclass
class CW:
    """The smallest change that makes another class win, by gradient descent and a search for the trade-off.

    In tanh's space pixels at 0 and 1 lie so far out that they take some 700 steps of 0.01 to come in: with few steps
    images as MNIST's keep nearly all their pixels. So with fewer than 1,000 (10 / lr) an image half of whose pixels are
    at 0 or 1, or that nothing has changed, is searched once more with steps of 10 / steps, and the nearer one counts.

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

    Raises:
        ValueError: images in half precision, outside [0, 1], or labels out of range.
    """
    if eps is not None:
        check_eps(eps, "L2", images[0].numel() if len(images) else None)
    if images.dtype in (torch.float16, torch.bfloat16):
        raise ValueError(
            f"CW takes pixels to tanh's space, where {images.dtype} has no room for 0 and 1; expected float32 or "
            "float64, attack a network in half precision in float32 under autocast"
        )
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
    """The search for each image's trade-off, twice where the first could not get far."""
    best, shortest = _bisect(model, images, target, steps, searches, lr, confidence, eps)
    if steps * lr < REACH:
        flat = ((images == 0) | (images == 1)).flatten(1).double().mean(dim=1) >= 0.5
        rows = (flat | (best == images).flatten(1).all(dim=1)).nonzero().squeeze(1)
        if len(rows):
            options = (steps, searches, REACH / steps, confidence, eps)
            again, length = _bisect(model, images[rows], target[rows], *options)
            nearer = length < shortest[rows]
            best[rows] = torch.where(per_image(nearer, again), again, best[rows])
    return best


def _bisect(
    model: nn.Module,
    images: Tensor,
    target: Tensor,
    steps: int,
    searches: int,
    lr: float,
    confidence: float,
    eps: float | None,
) -> tuple[Tensor, Tensor]:
    """The nearest images found over all trade-offs, and their squared distances [B]."""
    count = len(images)
    best = images.clone()
    shortest = images.new_full((count,), float("inf") if eps is None else (eps * (1 - 1e-6)) ** 2)
    low, high = images.new_zeros(count), images.new_full((count,), float("inf"))
    trade = images.new_full((count,), 1.0)
    for _ in range(searches):
        found = _search(model, images, target, trade, steps, lr, confidence, best, shortest)
        high, low = torch.where(found, trade, high), torch.where(found, low, trade)
        trade = torch.where(high.isinf(), 10 * trade, (low + high) / 2)
    return best, shortest


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
                torch.where(per_image(nearer, x), x, best, out=best)
                torch.where(nearer, distance, shortest, out=shortest)
            loss = distance + trade * (own - other + confidence).clamp_min(0)
            optimizer.zero_grad()
            (free.grad,) = torch.autograd.grad(loss.sum(), free)
            optimizer.step()
    return found
