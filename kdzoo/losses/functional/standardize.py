"""Z-score standardization of logits."""

import torch
from torch import Tensor

from kdzoo.losses.functional.checks import check_logits

# Under this deviation a row tells nothing but noise, and the gradient of the division,
# about 1 / std, would be as large as 1 / eps (a zero-initialised classifier: 1e7).
STD_FLOOR = 1e-4


def standardize(logits: Tensor, eps: float = 1e-7) -> Tensor:
    r"""Z-scores of each row: :math:`Z(z) = (z - \mathrm{mean}_c z) / (\mathrm{std}_c z + \epsilon)`.

    The deviation is the unbiased one (divided by C - 1). Invariant to ``logits * a + b``
    for a > 0; bounded by (C - 1) / sqrt(C). A row with a deviation under 1e-4 keeps its value but
    passes no gradient on: the published code passes one of the order of 1 / eps there.

    Args:
        logits: [B, C], C >= 2; half precision is widened to float32.
        eps: added to the deviation, 1e-7 as in the authors' code.

    Source: Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024.

    Example:
        >>> standardize(torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[-1.0000,  0.0000,  1.0000]])
    """
    return z_scores(check_logits(logits, "logits"), eps)


def z_scores(logits: Tensor, eps: float = 1e-7) -> Tensor:
    """:func:`standardize` of logits that are checked already."""
    std, mean = torch.std_mean(logits, dim=1, keepdim=True)  # [B, 1]
    scores = (logits - mean) / (std + eps)
    return torch.where(std < STD_FLOOR, scores.detach(), scores)
