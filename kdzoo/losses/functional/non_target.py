"""The distribution over the classes that are not the label, in log space."""

import torch
import torch.nn.functional as F
from torch import Tensor


def label_mask(label: Tensor, logits: Tensor) -> Tensor:
    """[B, C] bool, true at the label of each row.

    Args:
        label: [B] int64.
        logits: [B, C].
    """
    return torch.zeros_like(logits, dtype=torch.bool).scatter_(1, label[:, None], True)


def non_target(logits: Tensor, mask: Tensor) -> Tensor:
    """Log-softmax [B, C] over the columns outside ``mask``; 0, without gradient, inside.

    The columns are left out as if they were not there; published code lowers their logits by 1000, which
    fails for logits of that size. The 0 inside makes any product with a distribution that is 0
    there 0, not 0 * inf.

    Args:
        logits: [B, C].
        mask: [B, C] bool; at least one column of each row is outside.
    """
    return F.log_softmax(logits.masked_fill(mask, -torch.inf), dim=1).masked_fill(mask, 0.0)
