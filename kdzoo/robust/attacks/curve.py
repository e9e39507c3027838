"""Robust accuracy against the budget: how fast a network gives way."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kdzoo.robust.attacks.apgd import APGD
from kdzoo.robust.attacks.pgd import PGD

PICTURES = 8  # kept of each norm


@dataclass
class CurvePoint:
    """Robust accuracy at one budget, in percent; at eps 0 the clean accuracy."""

    norm: str
    eps: float
    top1: float


@dataclass
class Pictures:
    """Some images that one attack broke, at the largest eps of its norm.

    Args:
        norm, eps: of the attack.
        clean, adversarial: [M, C, H, W] in [0, 1].
        said: [M] what the network says of the adversarial images.
    """

    norm: str
    eps: float
    clean: Tensor
    adversarial: Tensor
    said: Tensor


def robust_accuracy(
    model: nn.Module,
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]],
    norm: str,
    epsilons: Sequence[float],
    build: Callable[[str, float], APGD | PGD],
    told: Callable[[CurvePoint], None] = lambda point: None,
    search: nn.Module | None = None,
) -> tuple[list[CurvePoint], Pictures | None]:
    """Accuracy under one attack at each budget, and pictures of what it did.

    An image that breaks at one eps counts as broken at every larger one, and is not attacked again: a change within
    the smaller ball is within the larger one, too.

    Args:
        model: images in [0, 1] -> logits.
        batches: starts a pass over (images [B, C, H, W], target [B]), always in the same order.
        norm: Linf, L2 or L1.
        epsilons: budgets; 0 stands for the clean accuracy.
        build: (norm, eps) -> attack.
        told: called with each point as it is known.
        search: what the attack climbs on, such as a :class:`~kdzoo.robust.attacks.autoattack.network.SearchNetwork`;
            what it finds counts where ``model`` itself is wrong. Default: the model.

    Example:
        >>> points, pictures = robust_accuracy(model, batches, "Linf", [0, 4 / 255, 8 / 255], lambda n, e: APGD(n, e))
    """
    held: list[Tensor] = []
    with torch.no_grad():
        for images, target in batches():
            held.append(model(images).argmax(dim=1) == target)
    count, points, pictures = max(1, sum(map(len, held))), [], None
    for eps in sorted(set(epsilons)):
        if eps > 0:
            found = _at(model, model if search is None else search, batches, held, build(norm, eps))
            pictures = Pictures(norm, eps, *found) if found is not None else pictures
        points.append(CurvePoint(norm, eps, 100 * sum(int(part.sum()) for part in held) / count))
        told(points[-1])
    return points, pictures


def _at(model, search, batches, held: list[Tensor], attack) -> tuple[Tensor, Tensor, Tensor] | None:
    """Attack what still holds; ``held`` is brought up to date. Up to 8 broken images, or ``None``."""
    kept, start = [], 0
    for place, (images, target) in enumerate(batches()):
        rows = held[place].nonzero().squeeze(1)
        numbers = start + rows.cpu().numpy()
        start += len(images)
        if not len(rows):
            continue
        clean, wanted = images[rows], target[rows]
        adversarial = _attacked(attack, search, clean, wanted, numbers)
        if search is not model:
            # Where rounding makes the search wrong on the image itself, it leaves it as it is: the model's turn.
            with torch.no_grad():
                lost = (search(clean).argmax(dim=1) != wanted).nonzero().squeeze(1)
            if len(lost):
                adversarial[lost] = _attacked(attack, model, clean[lost], wanted[lost], numbers[lost.cpu().numpy()])
        with torch.no_grad():
            said = model(adversarial).argmax(dim=1)
        broken = said != wanted
        held[place] = held[place].index_put((rows[broken],), torch.tensor(False, device=held[place].device))
        if sum(len(part[0]) for part in kept) < PICTURES:
            kept.append([part[broken][:PICTURES].cpu() for part in (clean, adversarial, said)])
    parts = [torch.cat(part)[:PICTURES] for part in zip(*kept, strict=True)] if kept else None
    return parts if parts is not None and len(parts[0]) else None


def _attacked(attack: APGD | PGD, network: nn.Module, images: Tensor, target: Tensor, numbers: np.ndarray) -> Tensor:
    if isinstance(attack, APGD):
        return attack.attack(network, images, target, numbers=numbers).adversarial
    return attack(network, images, target, numbers=numbers)


def record_arrays(points: Sequence[CurvePoint], pictures: Sequence[Pictures], attack: str, classes: Sequence[str]):
    """``attacks.npz``: what the report page's section draws, as arrays."""
    norms = [point.norm for point in points]
    bytes_of = lambda images: (images * 255).round().byte().permute(0, 2, 3, 1).numpy()  # noqa: E731
    shown = [part for part in pictures if part is not None]
    empty = np.zeros((0, 1, 1, 3), dtype=np.uint8)
    change = [(part.adversarial - part.clean) for part in shown]
    scaled = [
        0.5 + 0.5 * part / part.flatten(1).abs().amax(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1) for part in change
    ]
    return dict(
        attack=np.array(attack), norm=np.array(norms), eps=np.array([point.eps for point in points]),
        top1=np.array([point.top1 for point in points]),
        clean=np.concatenate([bytes_of(part.clean) for part in shown]) if shown else empty,
        adversarial=np.concatenate([bytes_of(part.adversarial) for part in shown]) if shown else empty,
        change=np.concatenate([bytes_of(part) for part in scaled]) if shown else empty,
        picture_norm=np.array([part.norm for part in shown for _ in part.said], dtype=str),
        picture_eps=np.array([part.eps for part in shown for _ in part.said], dtype=float),
        said=np.array([str(classes[int(label)]) for part in shown for label in part.said], dtype=str),
    )  # fmt: skip
