"""Personalised temperature: one for every image."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.losses.functional.checks import check_logits, check_pair, check_target, reduce
from kdzoo.losses.functional.tilt import tilt


def tempered_cross_entropy(
    logits: Tensor, target: Tensor, temperature: Tensor, rho: float = 1.0, reduction: str = "mean"
) -> Tensor:
    r"""What a temperature network is trained with: :math:`\tau_i (\mathrm{CE}(z_i / \tau_i, y_i) + \rho - \log C)`.

    It is the dual of a robust loss: the largest mean margin over class weights within a KL
    divergence rho of uniform. Over tau it is convex, and at its minimum softmax(z / tau) has the divergence
    rho from uniform, whatever the label (:func:`personal_temperature`). Its value may be negative.

    Args:
        logits: [B, C], z.
        target: class indices [B] or soft labels [B, C].
        temperature: [B], above 0, with or without gradient.
        rho: in nats; meaningful between 0 and log C. 1 is our choice, the authors tune it.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].

    Source: Qiu et al., To Cool or not to Cool? Temperature Network Meets Large Foundation Models via
    DRO, ICML 2024 (the authors' code, its constant 32000 replaced by C).

    Example:
        >>> loss = tempered_cross_entropy(teacher_logits, labels, tempnet(teacher_logits), rho=1.0)
        >>> loss.backward()
    """
    logits = check_logits(logits, "logits")
    target = check_target(target, logits)
    check_rho(rho)
    temperature = _temperatures(temperature, logits)
    rows = F.cross_entropy(logits / temperature[:, None], target, reduction="none")
    return reduce(temperature * (rows + rho - math.log(logits.shape[1])), reduction)


@torch.no_grad()
def personal_temperature(logits: Tensor, rho: float = 1.0, low: float = 1.0, high: float = 8.0) -> Tensor:
    r"""The :math:`\tau_i` at which :math:`\mathrm{KL}(\mathrm{softmax}(z_i / \tau_i) \,\|\, \mathrm{uniform}) = \rho`.

    This is what a network trained with :func:`tempered_cross_entropy` aims at, found without the network
    (to float64's precision): every image is softened to the same entropy, log C - rho. The derivation
    is ours.

    Args:
        logits: [B, C].
        rho: in nats, above 0.
        low, high: bounds of the temperature. Where rho is out of reach (a constant row, or rho above log C)
            no temperature is low enough: those images get ``low``.

    Returns:
        [B] in float32 or wider, without gradient.

    Example:
        >>> tau = personal_temperature(teacher_logits, rho=1.0)
        >>> loss = personal_kd(student_logits, teacher_logits, tau)
    """
    logits = check_logits(logits, "logits")
    check_rho(rho)
    check_range(low, high)
    found = tilt(logits, rho)
    return (found.spread / found.sharpness).squeeze(1).clamp(low, high).to(logits.dtype)


def personal_kd(
    student_logits: Tensor, teacher_logits: Tensor, temperature: Tensor, reduction: str = "mean"
) -> Tensor:
    r"""KD with a temperature an image,
    :math:`\tau_i^2\,\mathrm{KL}(\mathrm{softmax}(t_i / \tau_i) \,\|\, \mathrm{softmax}(s_i / \tau_i))`.

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; detached.
        temperature: [B], above 0; detached, for KD itself would push it out of any bound.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].

    Example:
        >>> loss = personal_kd(student_logits, teacher_logits, personal_temperature(teacher_logits))
        >>> loss.backward()
    """
    student, teacher = check_pair(student_logits, teacher_logits)
    temperature = _temperatures(temperature.detach(), student)
    log_p = F.log_softmax(student / temperature[:, None], dim=1)
    log_q = F.log_softmax(teacher / temperature[:, None], dim=1)
    rows = F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(dim=1)
    return reduce(temperature.square() * rows, reduction)


def check_rho(rho: float) -> None:
    if not rho > 0:
        raise ValueError(f"rho must be above 0, got {rho}")


def check_range(low: float, high: float) -> None:
    if not 0 < low < high < float("inf"):
        raise ValueError(f"temperatures must have 0 < low < high, got low={low} and high={high}")


def _temperatures(temperature: Tensor, logits: Tensor) -> Tensor:
    if temperature.shape != logits.shape[:1]:
        raise ValueError(f"temperature must be [{len(logits)}], got {list(temperature.shape)}")
    if temperature.device.type == "cpu" and not torch.compiler.is_compiling() and not (temperature > 0).all():
        raise ValueError("temperature must be above 0 for every image")
    return temperature.to(logits.dtype)
