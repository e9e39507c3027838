"""An approximation of Plackett-Luce distillation: only the first k places of the teacher's ranking have terms."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.kernels.cpu_pld_topk import leading
from kdzoo.kernels.dispatch import fused
from kdzoo.kernels.ops import reference
from kdzoo.losses.functional.checks import check_labels, check_pair, check_temperature, reduce, widen

MOST = 4096  # places, as the Triton kernel holds them in registers


def pld_topk(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    k: int = 100,
    temperature: float = 1.0,
    reduction: str = "mean",
    backend: str = "auto",
) -> Tensor:
    r""":math:`\sum_{j \le k} \alpha_j [\log \sum_{l \ge j} e^{s_{\pi_l}} - s_{\pi_j}]`, the first k terms of
    :func:`~kdzoo.losses.functional.pld`.

    An approximation, and another loss than PLD wherever k < C: what is left out has the teacher's tail mass
    :math:`\sum_{j > k} \alpha_j` as its weight. Exact for k >= C; useless for a diffuse teacher and a small k. The sort
    becomes a selection. The classes behind place k still count in every logarithm, in no order of their own.

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; detached. Which of several equal logits takes the k-th place is open.
        target: class indices [B], which lead the ranking; of soft labels [B, C] the largest counts.
        k: places that have a term, the label's among them, from 1 (q_y times cross-entropy) to 4096; 100 is our choice.
        temperature: T of the weights, 1 as in PLD.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
        backend: ``"auto"``, ``"torch"`` or ``"triton"``; see :mod:`kdzoo.kernels.dispatch`.

    Source: Bassam et al., PLD: A Choice-Theoretic List-Wise Knowledge Distillation, NeurIPS 2025; the cut is ours.

    Example:
        >>> loss = pld_topk(student_logits, teacher_logits, target, k=50)
        >>> loss.backward()
    """
    student, teacher = check_pair(student_logits, teacher_logits, wide=False)
    label = check_labels(target, student)
    check_temperature(temperature)
    if not isinstance(k, int) or not 1 <= k <= MOST:
        raise ValueError(f"k must be a whole number from 1 to {MOST}, got {k}; pld has terms for all classes")
    options = dict(k=k, temperature=temperature)
    loss = fused("pld_topk", backend, student_logits, teacher_logits, label, reduction, **options)
    return reduce(_rows(widen(student), widen(teacher), label, **options), reduction) if loss is None else loss


@reference("pld_topk")
def _rows(student: Tensor, teacher: Tensor, label: Tensor, k: int, temperature: float) -> Tensor:
    first = leading(teacher, label[:, None], min(k, student.shape[1]))
    weight = F.softmax(teacher / temperature, dim=1).gather(1, first)
    others = student.scatter(1, first, -torch.inf).logsumexp(dim=1, keepdim=True)
    score = student.gather(1, first)
    total = torch.cat([others, score.flip(1)], dim=1).logcumsumexp(dim=1)[:, 1:].flip(1)
    return (weight * (total - score)).sum(dim=1)
