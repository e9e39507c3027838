"""A classifier for very large label sets: logits of a small codebook, shared by the classes of a code."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.heads.checks import check_features, check_labels, check_sizes
from kdzoo.registry import HEADS


@HEADS.register()
class VQHead(nn.Module):
    r"""Logits :math:`z_k = (C h + b)_{M(k)}`: a codebook C of ``codes`` rows and a fixed map M from classes to codes.

    Classes of one code tie exactly: they get the same logit for every image, and an argmax names the one with the
    lowest label. Top-1 accuracy is bounded by the share of images whose class is that one of its code, so this head
    is for label sets of many thousands (where top-k, or a second stage within the code, decides), not for ten.

    Args:
        in_features: D.
        num_classes: K.
        codes: rows of the codebook, 2 to K; a quarter of the classes, and at least 2, where ``None`` (our choice).
        seed: of the balanced random map; ``assignment`` (a buffer [K]) may be overwritten, e.g. by clusters of
            another classifier's weights.

    Unverified: written after the abstract and a review of VQ-Logits (arXiv 2505.10202, 2025); how the paper finds its
    map and trains its codebook was not read.

    Example:
        >>> head = VQHead(512, 100_000, codes=2048)
        >>> loss = head.code_loss(features, labels)     # without [B, K] logits
    """

    def __init__(self, in_features: int, num_classes: int, codes: int | None = None, seed: int = 0):
        super().__init__()
        check_sizes(in_features, num_classes)
        codes = max(2, num_classes // 4) if codes is None else codes
        if not 2 <= codes <= num_classes:
            raise ValueError(f"codes must be from 2 to num_classes, {num_classes}, got {codes}")
        self.in_features = in_features
        self.codebook = nn.Linear(in_features, codes)
        order = torch.randperm(num_classes, generator=torch.Generator().manual_seed(seed))
        assignment = torch.empty(num_classes, dtype=torch.int64)
        assignment[order] = torch.arange(num_classes) % codes
        self.register_buffer("assignment", assignment)

    def forward(self, features: Tensor) -> Tensor:
        """[B, D] to [B, K]."""
        check_features(features, self.in_features)
        return self.codebook(features).index_select(1, self.assignment)

    def code_loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy over all K classes from the code logits alone: memory [B, codes].

        Args:
            features: [B, D]; target: class indices [B].
        """
        check_features(features, self.in_features)
        codes = self.codebook(features)  # [B, codes]
        codes = codes.float() if codes.dtype in (torch.float16, torch.bfloat16) else codes
        target = check_labels(target, codes.new_empty(len(codes), 1).expand(-1, len(self.assignment)))
        sizes = torch.bincount(self.assignment, minlength=codes.shape[1]).to(codes.dtype)
        label = codes.gather(1, self.assignment[target][:, None]).squeeze(1)
        return (torch.logsumexp(codes + sizes.log(), dim=1) - label).mean()

    def bound(self, target: Tensor) -> float:
        """Largest top-1 accuracy in percent that any codebook can reach on labels [N], given the map and the ties."""
        codes = self.assignment[target.to(self.assignment.device)]
        first = torch.full((self.codebook.out_features,), len(self.assignment), device=codes.device)
        first = first.scatter_reduce(
            0, self.assignment, torch.arange(len(self.assignment), device=codes.device), "amin"
        )
        return 100.0 * float((first[codes] == target.to(codes.device)).double().mean())

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of [B, K] logits with class indices [B]."""
        return F.cross_entropy(logits, check_labels(target, logits))
