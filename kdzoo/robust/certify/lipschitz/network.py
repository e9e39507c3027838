"""The product bound of a feed-forward network, and the certificate its margin gives."""

import math

import torch
from torch import Tensor, nn

from kdzoo.robust.certify.lipschitz.gram import coarse_grid_bound, gram_bound
from kdzoo.robust.certify.lipschitz.layers import AOLLinear, CPLLayer, SLLLayer, check_known, check_padding

ONE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Flatten, nn.Identity, nn.Dropout, AOLLinear, SLLLayer, CPLLayer)
OTHERS = (nn.LeakyReLU, nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.Sequential)


def network_bound(network: nn.Sequential) -> float:
    """Upper bound on the L2 Lipschitz constant of a sequence of layers: the product of theirs.

    Knows dense layers and convolutions (any stride, zero or circular padding), pooling, batch norm in evaluation
    mode, the usual activations, Flatten and the 1-Lipschitz layers of this module.

    Raises:
        ValueError: a layer it can't bound, one whose forward is not its class's own, or a layer in training mode.

    Example:
        >>> network_bound(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval())
    """
    if any(module.training for module in network.modules()):
        raise ValueError("the network is in training mode; call .eval(): dropout and batch norm have no bound there")
    check_known(network, (nn.Sequential,))
    return math.prod(_bound(layer) for layer in network)


@torch.no_grad()
def _bound(layer: nn.Module) -> float:
    check_known(layer, ONE + OTHERS)
    if isinstance(layer, nn.Sequential):
        return network_bound(layer)
    if isinstance(layer, nn.LeakyReLU):
        return max(1.0, abs(layer.negative_slope))
    if isinstance(layer, ONE):
        return 1.0
    if isinstance(layer, nn.Linear):
        return float(gram_bound(layer.weight.double()))
    if isinstance(layer, nn.Conv2d) and layer.groups == 1:
        check_padding(layer)
        return float(coarse_grid_bound(layer.weight.double()))
    if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)) and layer.running_var is not None:
        scale = 1.0 if layer.weight is None else layer.weight.double().abs()
        return float((scale / (layer.running_var.double() + layer.eps).sqrt()).max())
    if isinstance(layer, (nn.MaxPool2d, nn.AvgPool2d)):
        return _pool_bound(layer)
    raise ValueError(f"no bound is known for {type(layer).__name__}; build the network of layers that have one")


def _pool_bound(layer: nn.MaxPool2d | nn.AvgPool2d) -> float:
    """Each pixel is in at most prod ceil(k / s) windows; an average over k x k divides a window's norm by k."""
    size, stride = (v if isinstance(v, tuple) else (v, v) for v in (layer.kernel_size, layer.stride))
    windows = math.sqrt(math.ceil(size[0] / stride[0]) * math.ceil(size[1] / stride[1]))
    if isinstance(layer, nn.MaxPool2d):
        if layer.dilation not in (1, (1, 1)):
            raise ValueError("no bound is known for a dilated max pool; use dilation=1")
        return windows
    divisor = layer.divisor_override or size[0] * size[1]
    if not layer.divisor_override and (layer.ceil_mode or not layer.count_include_pad):
        return windows  # a window at the border may average fewer pixels; no average stretches more than a maximum
    return windows * math.sqrt(size[0] * size[1]) / divisor


def margin_radius(logits: Tensor, lipschitz: float) -> Tensor:
    """L2 radius within which the top class cannot change: margin / (sqrt(2) L) (Tsuzuku et al., NeurIPS 2018).

    Args:
        logits: [B, C].
        lipschitz: an upper bound on the network's constant, in the images' own units.

    Returns:
        [B] float64; 0 where logits are not finite.
    """
    if not (lipschitz > 0 and math.isfinite(lipschitz)):
        raise ValueError(f"lipschitz must be a positive, finite upper bound, got {lipschitz}")
    finite = logits.isfinite().all(dim=1)
    top = torch.where(finite[:, None], logits.double(), 0.0).topk(2, dim=1).values
    return (top[:, 0] - top[:, 1]) / (math.sqrt(2) * lipschitz)
