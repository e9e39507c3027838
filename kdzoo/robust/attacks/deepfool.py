"""DeepFool (Moosavi-Dezfooli, Fawzi and Frossard, CVPR 2016), L2."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdzoo.registry import ATTACKS
from kdzoo.robust.attacks.budget import check_eps, verify_budget
from kdzoo.robust.attacks.checks import check_attack
from kdzoo.robust.attacks.evaluation_mode import evaluation_mode


@ATTACKS.register()
@dataclass
class DeepFool:
    """Steps to the nearest class boundary of the linearised network until the class changes.

    Args:
        steps: most steps (default 50, as in the paper's code).
        overshoot: share by which the sum of the steps is lengthened (default 0.02).
        candidates: classes looked at, the likeliest ones (default 10).
        eps: L2 budget; ``None`` (default): none, as in the paper.

    Example:
        >>> adversarial = DeepFool()(model, images, target)
    """

    steps: int = 50
    overshoot: float = 0.02
    candidates: int = 10
    eps: float | None = None

    def __post_init__(self):
        if self.eps is not None:
            check_eps(self.eps, "L2")
        if self.steps < 1 or self.overshoot < 0 or self.candidates < 2:
            raise ValueError(
                "expected steps >= 1, overshoot >= 0 and candidates >= 2 but got "
                f"{self.steps}, {self.overshoot}, {self.candidates}"
            )

    def __call__(self, model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        return deepfool(model, images, target, self.steps, self.overshoot, self.candidates, self.eps)


def deepfool(
    model: nn.Module,
    images: Tensor,
    target: Tensor,
    steps: int = 50,
    overshoot: float = 0.02,
    candidates: int = 10,
    eps: float | None = None,
) -> Tensor:
    """Adversarial images of a batch, [B, C, H, W] in [0, 1].

    Args:
        model: images in [0, 1] -> logits [B, K], in evaluation mode.
        images: [B, C, H, W] in [0, 1].
        target: [B] true classes; an image the model gets wrong already comes back as it is.
        steps, overshoot, candidates, eps: as of :class:`DeepFool`.
    """
    if eps is not None:
        check_eps(eps, "L2", images[0].numel() if len(images) else None)
    with torch.inference_mode(False), evaluation_mode(model):
        images, target = images.detach().clone(), target.clone()
        check_attack(model, images, target)
        found = _attack(model, images, target.long(), steps, overshoot, candidates, eps)
        return verify_budget(found, images, "L2", eps)


def _attack(
    model: nn.Module, images: Tensor, target: Tensor, steps: int, overshoot: float, candidates: int, eps: float | None
) -> Tensor:
    x, total = images.clone(), torch.zeros_like(images)
    active = torch.arange(len(images), device=images.device)
    for _ in range(steps):
        with torch.no_grad():
            active = active[model(x[active]).argmax(dim=1) == target[active]]
        if not len(active):
            break
        total[active] += _to_boundary(model, x[active], target[active], candidates)
        x[active] = within(images[active] + (1 + overshoot) * total[active], images[active], eps)
    return x


def _to_boundary(model: nn.Module, x: Tensor, target: Tensor, candidates: int) -> Tensor:
    """The shortest step that makes another class as likely as the true one, were the network linear."""
    with torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        logits = model(x)
        others = logits.detach().scatter(1, target[:, None], float("-inf"))
        others = others.topk(min(candidates, logits.shape[1]) - 1, dim=1).indices
        own = logits.gather(1, target[:, None])
        best, shortest = torch.zeros_like(x), x.new_full((len(x),), float("inf"))
        for column in range(others.shape[1]):
            gap = (own - logits.gather(1, others[:, column : column + 1])).squeeze(1)  # [B], positive
            (slope,) = torch.autograd.grad(gap.sum(), x, retain_graph=True)
            square = slope.flatten(1).square().sum(dim=1).clamp_min(1e-12)
            gap = gap.detach() + 1e-4
            length = gap / square.sqrt()
            step = -(gap / square).view(-1, 1, 1, 1) * slope
            nearer = length < shortest
            best = torch.where(nearer.view(-1, 1, 1, 1), step, best)
            shortest = torch.where(nearer, length, shortest)
    return best


def within(x: Tensor, images: Tensor, eps: float | None) -> Tensor:
    """Into [0, 1], then to at most eps of the images in L2 (which stays in [0, 1])."""
    change = x.clamp(0, 1) - images
    if eps is None:
        return images + change
    norm = change.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
    # Less than eps by what rounding the sum to float32 may add, so that the budget is never exceeded.
    allowed = max(0.0, eps * (1 - 1e-6) - torch.finfo(images.dtype).eps * images[0].numel() ** 0.5)
    return images + change * (allowed / norm).clamp(max=1)
