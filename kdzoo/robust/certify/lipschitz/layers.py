"""Layers that are 1-Lipschitz by construction, and the spectral norm as a parametrisation."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kdzoo.robust.certify.lipschitz.gram import coarse_grid_bound, gram_bound, margin, not_tf32

OWN = ("forward", "_conv_forward")  # what says how a layer uses its weight


class AOLLinear(nn.Linear):
    """Almost-orthogonal layer: ``W D`` with ``D_jj = (sum_k |W^T W|_jk)^-1/2`` (Prach and Lampert, ECCV 2022).

    Args:
        in_features, out_features, bias: as of ``nn.Linear``.

    Example:
        >>> AOLLinear(64, 64)(x)      # [B, 64] -> [B, 64], 1-Lipschitz
    """

    def rescaled(self) -> Tensor:
        """[out, in], of spectral norm at most 1."""
        return self.weight * _inverse(_absolute_gram(self.weight).sum(dim=1)).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.rescaled(), self.bias)


class SLLLayer(nn.Module):
    """``x - 2 W T^-1 relu(W^T x + b)``, ``T_ii = sum_j |W^T W|_ij q_j / q_i`` (Araujo et al., ICLR 2023).

    Args:
        features: of x.
        hidden: columns of W; default as many as features.
    """

    def __init__(self, features: int, hidden: int | None = None):
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(features, hidden or features)))  # [F, H]
        self.bias = nn.Parameter(torch.zeros(hidden or features))
        self.log_q = nn.Parameter(torch.zeros(hidden or features))  # q = exp(log_q), positive whatever is learnt

    def forward(self, x: Tensor) -> Tensor:
        """[..., F] -> [..., F]."""
        q = self.log_q.exp()
        scale = (_absolute_gram(self.weight) * q).sum(dim=1) / q
        hidden = torch.relu(x @ self.weight + self.bias) * _inverse(scale)
        return x - 2 * hidden @ self.weight.T


class CPLLayer(nn.Module):
    """Convex potential layer ``x - 2 / |W|^2 W relu(W^T x + b)`` (Meunier et al., ICML 2022).

    |W| is the Gram bound, so that the layer is 1-Lipschitz and not merely nearly so.

    Args:
        features: of x.
        hidden: columns of W; default as many as features.
        iterations: of the Gram bound.
    """

    def __init__(self, features: int, hidden: int | None = None, iterations: int = 6):
        super().__init__()
        self.iterations = iterations
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(features, hidden or features)))  # [F, H]
        self.bias = nn.Parameter(torch.zeros(hidden or features))

    def forward(self, x: Tensor) -> Tensor:
        """[..., F] -> [..., F]."""
        hidden = torch.relu(x @ self.weight + self.bias)
        return x - 2 * _inverse(gram_bound(self.weight, iterations=self.iterations) ** 2) * (hidden @ self.weight.T)


class _SpectralNorm(nn.Module):
    """The weight divided by its bound."""

    def __init__(self, iterations: int):
        super().__init__()
        self.iterations = iterations

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 2:
            bound = gram_bound(weight, iterations=self.iterations)
        else:
            bound = coarse_grid_bound(weight, iterations=self.iterations)
        return weight * _inverse(bound)


def spectral_norm(layer: nn.Linear | nn.Conv2d, iterations: int = 6) -> nn.Linear | nn.Conv2d:
    """Make a layer 1-Lipschitz by dividing its weight by an upper bound of its norm, differentiably.

    torch's own ``spectral_norm`` divides by a power iteration's estimate, which is a lower bound: the layer may
    stretch. Convolutions may have any stride and zero or circular padding, no groups.

    Example:
        >>> layer = spectral_norm(nn.Conv2d(3, 16, 3, padding=1))
    """
    if isinstance(layer, nn.Conv2d) and layer.groups != 1:
        raise ValueError("grouped convolutions have no bound here; use groups=1")
    if not isinstance(layer, (nn.Linear, nn.Conv2d)):
        raise ValueError(f"spectral_norm takes nn.Linear or nn.Conv2d, got {type(layer).__name__}")
    check_known(layer, (nn.Linear, nn.Conv2d))
    if isinstance(layer, nn.Conv2d):
        check_padding(layer)
    parametrize.register_parametrization(layer, "weight", _SpectralNorm(iterations))
    return layer


def check_known(layer: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
    """Refuse what is none of the kinds, or computes something else than its kind from the same weights."""
    kind = next((kind for kind in kinds if isinstance(layer, kind)), None)
    if kind is None:
        raise ValueError(f"no bound is known for {type(layer).__name__}; build the network of layers that have one")
    # A subclass may use its weight otherwise (weight standardisation), or follow it by an activation.
    if any(getattr(layer, n, None) != getattr(kind, n).__get__(layer) for n in OWN if hasattr(kind, n)):
        raise ValueError(
            f"no bound is known for {type(layer).__name__}: it is a {kind.__name__} with a forward of its own; build "
            f"the network of plain {kind.__name__} layers"
        )
    if layer._forward_pre_hooks or layer._forward_hooks:
        raise ValueError(
            f"{type(layer).__name__} has forward hooks, which may change its weight or output; remove them, and use "
            "torch.nn.utils.parametrizations where weight_norm or spectral_norm put them there"
        )


def check_padding(layer: nn.Conv2d) -> None:
    """Refuse padding that shows pixels more often than the kernel's spectrum accounts for.

    Raises:
        ValueError: neither zero nor circular padding, or circular padding whose output is larger than the input.
    """
    if layer.padding_mode not in ("zeros", "circular"):
        raise ValueError(f"no bound is known for {layer.padding_mode!r} padding; use 'zeros' or 'circular'")
    if layer.padding_mode == "zeros" or isinstance(layer.padding, str):
        return
    sides = list(zip(layer.padding, layer.dilation, layer.kernel_size, strict=True))
    if any(2 * padding > dilation * (kernel - 1) for padding, dilation, kernel in sides):
        raise ValueError(
            f"no bound is known for circular padding {layer.padding} of a {layer.kernel_size} kernel, for it repeats "
            "outputs; pad dilation * (kernel - 1) / 2 at most"
        )


def _absolute_gram(weight: Tensor) -> Tensor:
    """|W^T W|, a margin for rounding above it and never in half precision, else the layers would stretch."""
    exact = not_tf32(weight)
    with torch.autocast(weight.device.type, enabled=False):
        return (exact.T @ exact).abs().to(weight.dtype) * (1 + margin(weight))


def _inverse(values: Tensor) -> Tensor:
    """1 / values, 0 where they are 0: a column of zeros stays one."""
    return torch.where(values > 0, 1 / torch.where(values > 0, values, 1), 0)
