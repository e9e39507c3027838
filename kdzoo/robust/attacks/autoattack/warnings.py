"""Signs that AutoAttack's result can't be taken at face value; they go into the result."""

from dataclasses import dataclass
from unittest import mock

import torch
from torch import Tensor, nn

from kdzoo.robust.attacks.autoattack.parts import logit_margin

PASSES, CHANGE = 5, 1e-4  # AutoAttack's: forward passes compared, and how much normalised logits may differ
SQUARE_GAIN = 0.002  # AutoAttack's: how much Square may lower robust accuracy below the gradient attacks'


@dataclass(frozen=True)
class Caution:
    """One sign.

    Args:
        kind: ``"randomness"``, ``"probabilities"``, ``"zero gradient"``, ``"autograd in forward"``,
            ``"gradient masking"`` or ``"classes"``.
        message: a sentence, with what to do.
    """

    kind: str
    message: str


def look_at(model: nn.Module, images: Tensor, target: Tensor, version: str) -> list[Caution]:
    """What shows before the attack, on one batch.

    Args:
        model: images in [0, 1] -> logits [B, K], in evaluation mode.
        images: [B, C, H, W].
        target: [B].
        version: ``"rand"`` expects randomness.
    """
    found = [
        _random(model, images, target, version),
        _probabilities(model, images),
        _autograd(model, images),
        _zero_gradient(model, images, target),
    ]
    return [caution for caution in found if caution is not None]


def square_gain(robust: dict[str, float]) -> Caution | None:
    """Whether Square broke points that every gradient attack before it left.

    Args:
        robust: accuracies in [0, 1] after each attack, in their order, "clean" first.
    """
    names = list(robust)
    # Only what ran before: version plus has two more attacks behind Square, whose accuracies are never above its own.
    before = [robust[name] for name in names[1 : names.index("square")]] if "square" in robust else []
    if not before:
        return None
    gain = min(before) - robust["square"]
    if gain <= SQUARE_GAIN:
        return None
    return Caution(
        "gradient masking",
        f"Square, which needs no gradients, lowered robust accuracy by {gain:.2%} below the gradient attacks; "
        "gradients may be masked: try more queries and an adaptive attack",
    )


@torch.no_grad()
def _random(model: nn.Module, images: Tensor, target: Tensor, version: str) -> Caution | None:
    outputs = [model(images).float() for _ in range(PASSES)]
    right = {int((logits.argmax(dim=1) == target).sum()) for logits in outputs}
    unit = [logits / (logits.norm(dim=1, keepdim=True) + 1e-10) for logits in outputs]
    change = max(float((a - b).norm(dim=1).max()) for a in unit for b in unit)
    if version == "rand" or (len(right) == 1 and change <= CHANGE):
        return None
    return Caution(
        "randomness",
        f"the same images gave different logits (by up to {change:.1e}); use version 'rand' for a random network",
    )


@torch.no_grad()
def _probabilities(model: nn.Module, images: Tensor) -> Caution | None:
    output = model(images).float()
    sums = output.sum(dim=1)
    if output.min() < -1e-5 or output.max() > 1 + 1e-5 or ((sums - 1).abs() > 1e-5).any():
        return None
    return Caution(
        "probabilities",
        "the outputs are probabilities, whose gradients vanish where the network is sure; "
        "attack the logits before the softmax",
    )


def _autograd(model: nn.Module, images: Tensor) -> Caution | None:
    calls = []

    def watched(function):
        def call(*arguments, **keywords):
            calls.append(function)
            return function(*arguments, **keywords)

        return call

    with (
        mock.patch.object(torch.autograd, "grad", watched(torch.autograd.grad)),
        mock.patch.object(torch.autograd, "backward", watched(torch.autograd.backward)),
        torch.no_grad(),
    ):
        model(images[:1])
    if not calls:
        return None
    return Caution(
        "autograd in forward",
        "the network computes gradients in its forward pass, so it may adapt to its input; "
        "AutoAttack may not suffice: use an adaptive attack",
    )


def _zero_gradient(model: nn.Module, images: Tensor, target: Tensor) -> Caution | None:
    with torch.inference_mode(False), torch.enable_grad():
        x = images.detach().clone().requires_grad_()
        margin = logit_margin(model(x).float(), target).sum()
        if margin.requires_grad:
            (gradient,) = torch.autograd.grad(margin, x, allow_unused=True)
        else:
            gradient = None
    zero = len(images) if gradient is None else int((gradient.flatten(1) == 0).all(dim=1).sum())
    if not zero:
        return None
    return Caution(
        "zero gradient",
        f"{zero} of {len(images)} images have a gradient of zero; gradient attacks do nothing there",
    )
