"""The network an attack searches with: the model's function, in fewer operations."""

import copy

import torch
from torch import Tensor, nn

from kdzoo.robust.certify.fold import Folded

FOLD_TOLERANCE = 1e-3  # of the largest logit; folding is exact up to float32's rounding, a hundredth of this


class SearchNetwork(nn.Module):
    """A frozen copy of a model: batch norm folded, no gradients of weights, channels last.

    What it finds is checked on the model itself before it counts.

    Args:
        model: images [B, C, H, W] in [0, 1] -> logits, in evaluation mode.
        images: a few, to compare the folded network with the model; it is not folded where they differ.
        fold: whether to try.
        bf16: run under bfloat16 autocast.
    """

    def __init__(self, model: nn.Module, images: Tensor, fold: bool = True, bf16: bool = False):
        super().__init__()
        self.network = _folded(model, images) if fold else None
        self.folded = self.network is not None
        if self.network is None:
            self.network = copy.deepcopy(model).requires_grad_(False)
        self.network.eval().to(memory_format=torch.channels_last)
        self.bf16 = bf16

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] to float32 logits [B, K]."""
        images = images.contiguous(memory_format=torch.channels_last)
        if not self.bf16:
            return self.network(images)
        with torch.autocast(images.device.type, torch.bfloat16):
            return self.network(images).float()


def _folded(model: nn.Module, images: Tensor) -> nn.Module | None:
    """The folded network; ``None`` where it can't be traced or is not the same function."""
    try:
        network = Folded(model)
    except ValueError:
        return None
    with torch.no_grad():
        wanted, got = model(images), network(images)
    return network if (got - wanted).abs().max() <= FOLD_TOLERANCE * wanted.abs().max().clamp_min(1) else None
