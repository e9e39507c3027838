"""Maps from logits onto the probability simplex: what a soft smoothed classifier averages."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


def sparsemax(logits: Tensor, mass: float = 1.0) -> Tensor:
    """Euclidean projection of each row onto {p >= 0, sum p = mass} (Martins and Astudillo, ICML 2016).

    Args:
        logits: [..., C].
        mass: sum of the result, positive (default 1: the probability simplex).

    Returns:
        [..., C], in float32 or wider; differentiable.

    Raises:
        ValueError: the mass is not positive.

    Example:
        >>> sparsemax(torch.tensor([1.0, 0.5, 0.1, -1.0]))
        tensor([0.7500, 0.2500, 0.0000, 0.0000])
    """
    if not mass > 0:
        raise ValueError(f"mass must be positive, got {mass}")
    logits = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
    # Shifting by the largest logit changes nothing but the rounding.
    logits = logits - logits.amax(dim=-1, keepdim=True).detach()
    ordered = logits.sort(dim=-1, descending=True).values
    rank = torch.arange(1, logits.shape[-1] + 1, device=logits.device, dtype=logits.dtype)
    excess = ordered.cumsum(dim=-1) - mass
    support = (rank * ordered > excess).sum(dim=-1, keepdim=True)  # at least 1: the largest always is in it
    threshold = excess.gather(-1, support - 1) / support
    return (logits - threshold).clamp_min(0)


@dataclass(frozen=True)
class SimplexMap:
    """A map of logits into the simplex with its temperature.

    Args:
        kind: ``"hardmax"`` (one-hot of the largest logit; the first of equal ones), ``"softmax"`` or ``"sparsemax"``.
        scale: the logits are multiplied by it (1 / temperature); hardmax does not need it.

    Example:
        >>> SimplexMap("sparsemax", 2.0)(logits)     # [B, C] -> [B, C]
    """

    kind: Literal["hardmax", "softmax", "sparsemax"]
    scale: float = 1.0

    def __post_init__(self):
        if self.kind not in ("hardmax", "softmax", "sparsemax"):
            raise ValueError(f"a simplex map is 'hardmax', 'softmax' or 'sparsemax', got {self.kind!r}")
        if not 0 < self.scale < float("inf"):
            raise ValueError(f"scale must be positive and finite, got {self.scale}")

    def __call__(self, logits: Tensor) -> Tensor:
        """[..., C] logits to [..., C] in the simplex, in float32 or wider."""
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if self.kind == "hardmax":
            return torch.nn.functional.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
        scaled = logits * self.scale
        return sparsemax(scaled) if self.kind == "sparsemax" else scaled.softmax(dim=-1)

    @property
    def lipschitz(self) -> float:
        """L2 Lipschitz constant with respect to the logits: the scale for sparsemax, half of it for softmax."""
        return {"hardmax": float("inf"), "softmax": self.scale / 2, "sparsemax": self.scale}[self.kind]
