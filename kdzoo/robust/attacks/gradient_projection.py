"""RAMP's gradient projection: what natural training found that does not oppose what adversarial training found."""

from collections.abc import Mapping

import torch
from torch import Tensor


@torch.no_grad()
def project_gradients(
    old: Mapping[str, Tensor], natural: Mapping[str, Tensor], adversarial: Mapping[str, Tensor], beta: float = 0.5
) -> dict[str, Tensor]:
    r"""One state dict from two that were trained from one start, tensor by tensor.

    With :math:`g_n = natural - old`, :math:`g_a = adversarial - old` and c their cosine:
    :math:`old + \beta \max(c, 0)\, g_n + (1 - \beta)\, g_a`. So batch-norm statistics are mixed too; counters (tensors
    without dimension, and integers) are the adversarial model's. c is 0 where one of the two did not move.

    Args:
        old, natural, adversarial: state dicts with the same keys and shapes.
        beta: share of the natural training, from 0 to 1; 0.5 as published.

    Raises:
        ValueError: the keys differ, or beta is outside [0, 1].

    Source: Jiang and Singh, RAMP, NeurIPS 2024.

    Example:
        >>> model.load_state_dict(project_gradients(start, natural.state_dict(), robust.state_dict(), beta=0.5))
    """
    if not 0 <= beta <= 1:
        raise ValueError(f"beta must be from 0 to 1, got {beta}")
    if old.keys() != natural.keys() or old.keys() != adversarial.keys():
        differing = sorted((old.keys() ^ natural.keys()) | (old.keys() ^ adversarial.keys()))
        raise ValueError(f"the state dicts must have the same keys, {differing[0]!r} is not in all; take one network's")
    return {key: _project(old[key], natural[key], adversarial[key], beta) for key in old}


def _project(old: Tensor, natural: Tensor, adversarial: Tensor, beta: float) -> Tensor:
    if adversarial.ndim == 0 or not adversarial.is_floating_point():
        return adversarial.clone()
    toward_natural, toward_adversarial = natural - old, adversarial - old
    cosine = torch.cosine_similarity(toward_natural.flatten(), toward_adversarial.flatten(), dim=0, eps=1e-8)
    return old + beta * cosine.clamp_min(0) * toward_natural + (1 - beta) * toward_adversarial
