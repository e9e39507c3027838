"""A mixture of linear experts of which each image asks only a few."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.heads.checks import check_features, check_sizes, check_target
from kdzoo.registry import HEADS


@HEADS.register()
class SparseMoEHead(nn.Module):
    r"""Logits :math:`\sum_{e \in T(h)} g_e(h)\,(W_e h + b_e)`: T the ``top_k`` experts with the largest gate logits, g
    the softmax over these alone.

    The other experts have weight 0 and get no gradient from the image. With ``top_k`` equal to ``experts`` it is the
    dense softmax mixture. All experts are computed in one product, since they are linear; nothing balances their load.

    Args:
        in_features: D.
        num_classes: K.
        experts: E, 4.
        top_k: from 1 to E, 2. With 1 the gate's softmax is the constant 1, and the gate does not train.

    Source: the gate is that of Shazeer et al., Outrageously Large Neural Networks, ICLR 2017, without its noise and
    load terms; written from memory, as the formula of top-k sparse softmax gating, and not checked against a paper.

    Example:
        >>> head = SparseMoEHead(512, 100, experts=8, top_k=2)
    """

    def __init__(self, in_features: int, num_classes: int, experts: int = 4, top_k: int = 2):
        super().__init__()
        check_sizes(in_features, num_classes)
        if not 1 <= top_k <= experts:
            raise ValueError(f"top_k must be from 1 to experts, {experts}, got {top_k}")
        self.num_classes, self.top_k = num_classes, top_k
        self.gate = nn.Linear(in_features, experts)
        self.experts = nn.Linear(in_features, experts * num_classes)

    def settings(self) -> dict[str, float]:
        """What the logits depend on beside the weights: files of weights keep it."""
        return dict(top_k=self.top_k)

    def forward(self, features: Tensor) -> Tensor:
        """[B, D] to [B, K]."""
        check_features(features, self.gate.in_features)
        chosen = self.gate(features).topk(self.top_k, dim=1)  # [B, k]
        weight = torch.softmax(chosen.values, dim=1)
        every = self.experts(features).unflatten(1, (-1, self.num_classes))  # [B, E, K]
        index = chosen.indices[:, :, None].expand(-1, -1, self.num_classes)
        return (weight[:, :, None] * every.gather(1, index)).sum(dim=1)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of [B, K] logits with class indices [B] or soft labels [B, K]."""
        return F.cross_entropy(logits, check_target(target, logits))
