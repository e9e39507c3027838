"""The network an attack searches with: the model's function, in fewer operations."""

import copy

import torch
from torch import Tensor, nn

from kdzoo.models.fold import folded_or_none


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
        self.network = folded_or_none(model, images) if fold else None
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
