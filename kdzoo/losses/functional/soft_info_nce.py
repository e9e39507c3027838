"""Soft-InfoNCE: a contrastive loss whose negatives are weighted by how negative they are."""

import torch
from torch import Tensor

from kdzoo.losses.functional.checks import check_logits, check_target, check_temperature, full_precision, reduce, widen


def soft_info_nce(
    scores: Tensor,
    similarity: Tensor,
    negatives: Tensor | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    temperature: float = 1.0,
    floor: float = 0.1,
    reduction: str = "mean",
) -> Tensor:
    r""":math:`-\log \frac{e^{s_{ii}}}{e^{s_{ii}} + \sum_{j \ne i} w_{ij} e^{s_{ij}}}` with
    :math:`w_{ij} = \max\big(floor, \frac{\beta - \alpha\,\sigma_{ij}}{\beta - \alpha / (N - 1)}\big)`.

    :math:`\sigma_{ij}` is the softmax of ``similarity / temperature`` over the N - 1 negatives of row i: what a
    teacher finds similar pushes less. Unclipped weights have the mean 1 in each row. alpha = 0 is InfoNCE;
    a row without negatives has the loss 0, one with a single negative the weight 1 (where the
    formula is 0 / 0 for alpha = beta).

    Args:
        scores: [B, B], image i against text j, already divided by the contrastive temperature (or times
            CLIP's scale); the pairs are on the diagonal.
        similarity: [B, B], a teacher's scores of the same pairs; detached.
        negatives: [B, B] bool, which pairs are negatives at all; ``None`` for all off the diagonal.
        alpha, beta: 0 <= alpha <= beta, 0 < beta. 1 and 1 as in the authors' code, which tunes them by data set.
        temperature: of the similarities, 1 as in the authors' code.
        floor: smallest weight, 0.1 as in the authors' code.
        reduction: ``"mean"`` over the rows, ``"sum"``, or ``"none"`` for [B].

    Source: Li et al., Rethinking Negative Pairs in Code Search, EMNLP 2023 (the authors' code; the
    paper's text was not read). Its use on images and texts is ours.

    Example:
        >>> scores = 100 * image_embeddings @ text_embeddings.T  # both of length 1
        >>> loss = soft_info_nce(scores, teacher_image_embeddings @ teacher_text_embeddings.T)
    """
    scores, similarity = _square(scores, "scores"), _square(similarity.detach(), "similarity")
    if similarity.shape != scores.shape:
        raise ValueError(f"similarity must be {list(scores.shape)} as scores, got {list(similarity.shape)}")
    check_weights(alpha, beta, floor)
    check_temperature(temperature)
    mask = ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    if negatives is not None:
        if negatives.shape != scores.shape or negatives.dtype != torch.bool:
            got = f"{negatives.dtype} {list(negatives.shape)}"
            raise ValueError(f"negatives must be bool {list(scores.shape)}, got {got}")
        mask = mask & negatives
    log_weights = _weights(similarity / temperature, mask, alpha, beta, floor).log().to(scores.dtype)
    # The positive's own weight is 1; whatever is no negative leaves the sum.
    kept = mask | torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    weighted = (scores + log_weights).masked_fill(~kept, -torch.inf)
    return reduce(torch.logsumexp(weighted, dim=1) - scores.diagonal(), reduction)


def in_batch_scores(logits: Tensor, target: Tensor) -> Tensor:
    """Scores [B, B] of every image against every image's class text, from class logits [B, C].

    A CLIP-style classifier's logits are its images' scores against the class prompts; image j's
    text is its class's prompt, so the scores are ``logits[:, target]``. Soft labels mix prompts:
    ``logits @ target.T``, as in Hugger and Uhlmann, Towards noise contrastive estimation with soft
    targets for conditional models, 2024.

    Args:
        logits: [B, C].
        target: class indices [B] or soft labels [B, C].

    Example:
        >>> scores = in_batch_scores(student_logits, labels)
        >>> loss = soft_info_nce(scores, in_batch_scores(teacher_logits, labels))
    """
    logits = check_logits(logits, "logits")
    target = check_target(target, logits)
    if target.ndim == 1:
        return logits[:, target]
    with full_precision(logits):
        return logits @ target.T


def check_weights(alpha: float, beta: float, floor: float) -> None:
    if not (0 <= alpha <= beta and beta > 0):
        raise ValueError(f"0 <= alpha <= beta and beta > 0 must hold, got alpha={alpha} and beta={beta}")
    if not 0 < floor <= 1:
        raise ValueError(f"floor must be in (0, 1], got {floor}")


def _weights(similarity: Tensor, mask: Tensor, alpha: float, beta: float, floor: float) -> Tensor:
    """[B, B]: the negatives' weights where ``mask``, 1 elsewhere."""
    share = similarity.masked_fill(~mask, torch.finfo(similarity.dtype).min).softmax(dim=1)
    count = mask.sum(dim=1, keepdim=True).to(share.dtype)  # [B, 1]
    several = count > 1
    mean = torch.where(several, beta - alpha / count.clamp_min(1), 1.0)
    weights = torch.where(several, (beta - alpha * share) / mean, 1.0).clamp_min(floor)
    return torch.where(mask, weights, 1.0)


def _square(scores: Tensor, name: str) -> Tensor:
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1] or not scores.is_floating_point():
        raise ValueError(f"{name} must be floating [B, B], got {scores.dtype} {list(scores.shape)}")
    return widen(scores)
