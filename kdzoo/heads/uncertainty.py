"""How unsure a zero-shot classifier is of an image: the factor by which AMU-Tuning lets its second branch speak."""

import math

import torch
from torch import Tensor

UNCERTAINTIES = ("kurtosis", "entropy", "energy", "energy_official", "max", "max-min", "std", "top5", "none")
# Gaps of probabilities below this count as this: a power of 0 would be infinite.
FLOOR = 1e-6
ENERGY_TEMPERATURE = 2.0


def uncertainty(logits: Tensor, kind: str = "kurtosis", power: float = 0.4, constant: float | None = None) -> Tensor:
    r"""Factor kappa [B, 1] of rows of logits [B, K], from p = softmax(logits); finite for finite logits.

    ``"kurtosis"``: :math:`(m_4 / c)^{-power}`, m_4 the mean fourth power of p's Z-scores over the classes (deviation
    divided by K - 1); c is ``constant``, by default K / 4, since the kurtosis of a sure row is about K: the published
    250 is that for ImageNet's 1,000 classes. ``"entropy"``: :math:`\exp(power\, H / \log K)`, finite where the
    published code is NaN (a probability that underflows). ``"max"``, ``"max-min"``, ``"top5"`` (largest less fifth
    largest; K >= 5): that number to the power of -power. ``"std"``: p's deviation, without a power (the paper's code
    calls it "var"). ``"energy"``: :math:`(\tau \log \sum e^{p / \tau})^{-power}`, tau = 2;
    ``"energy_official"`` has the published code's slip, which adds (tau - 1) max p to the energy. ``"none"``: 1.

    Args:
        logits: [B, K], of the zero-shot classifier; computed on in float32 or wider.
        kind: as above.
        power: 0.4 as in the paper's command.
        constant: c of the kurtosis, above 0.

    Raises:
        ValueError: another kind or shape, ``"top5"`` with fewer than five classes.

    Source: Tang et al., AMU-Tuning: Effective Logit Bias for CLIP-based Few-shot Learning, CVPR 2024, and its code.

    Example:
        >>> kappa = uncertainty(clip_logits, "kurtosis", power=0.4)
    """
    check_uncertainty(kind, power, constant)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits must be [B, K] with K >= 2, got {list(logits.shape)}")
    classes = logits.shape[1]
    if kind == "top5" and classes < 5:
        raise ValueError(f"uncertainty 'top5' needs at least 5 classes, got {classes}; use 'max-min'")
    log_p = torch.log_softmax(logits.float() if logits.dtype != torch.float64 else logits, dim=1)
    p = log_p.exp()
    if kind == "none":
        return torch.ones_like(p[:, :1])
    if kind == "entropy":
        entropy = -(p * log_p).sum(dim=1, keepdim=True) / math.log(classes)
        return (power * entropy).exp()
    if kind == "std":
        return p.std(dim=1, keepdim=True)
    if kind == "kurtosis":
        return (_kurtosis(p) / (classes / 4 if constant is None else constant)) ** -power
    top = p.amax(dim=1, keepdim=True)
    if kind.startswith("energy"):
        energy = ENERGY_TEMPERATURE * torch.logsumexp(p / ENERGY_TEMPERATURE, dim=1, keepdim=True)
        return (energy + (ENERGY_TEMPERATURE - 1) * top * (kind == "energy_official")) ** -power
    low = {"max": 0.0, "max-min": p.amin(dim=1, keepdim=True)}.get(kind)
    if low is None:
        low = p.topk(5, dim=1).values[:, 4:]
    return (top - low).clamp_min(FLOOR) ** -power


def _kurtosis(p: Tensor) -> Tensor:
    """[B, 1]; a flat row has the smallest kurtosis there is with this deviation, ((K - 1) / K)^2."""
    classes = p.shape[1]
    centred = p - p.mean(dim=1, keepdim=True)
    std = p.std(dim=1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny)
    return (centred / std).pow(4).mean(dim=1, keepdim=True).clamp_min(((classes - 1) / classes) ** 2)


def check_uncertainty(kind: str, power: float, constant: float | None) -> None:
    if kind not in UNCERTAINTIES:
        raise ValueError(f"uncertainty must be one of {', '.join(UNCERTAINTIES)}, got {kind!r}")
    if not 0 <= power < math.inf:
        raise ValueError(f"power must be 0 or more and finite, got {power}")
    if constant is not None and not 0 < constant < math.inf:
        raise ValueError(f"constant must be above 0 and finite, got {constant}")
