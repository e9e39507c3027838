"""DIST: correlation with the teacher, of classes within an image and of images within a class."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.kernels.dispatch import fused
from kdzoo.kernels.ops import reference
from kdzoo.losses.functional.checks import check_pair, check_temperature, check_weight, reduce

# Under this spread, relative to its length, a vector is constant but for noise; the correlation's
# gradient is 1 / spread and would reach 1 / eps (a zero-initialised classifier: 1e6).
SPREAD_FLOOR = 1e-4


def dist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
    reduction: str = "mean",
    backend: str = "auto",
) -> Tensor:
    r""":math:`\tau^2 \beta (1 - \mathrm{mean}_b\,\rho(p_b, q_b)) +
    \tau^2 \gamma (1 - \mathrm{mean}_c\,\rho(p_{:c}, q_{:c}))`.

    :math:`\rho` is Pearson's correlation of the softened probabilities p of the student and q of the teacher:
    over the classes of each image (inter-class), and over the images of the batch for each class
    (intra-class). 1e-8 is added to the product of norms, so equal logits give about 1e-6, not 0.

    A row or column of p whose spread is under 1e-4 of its length (a zero-initialised classifier; a batch of one
    image) keeps its value and passes no gradient on.

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; detached.
        beta: weight of the inter-class part; 1 as in the authors' code (whose term has weight 2 in training).
        gamma: weight of the intra-class part, 1 likewise. It depends on the process's own batch.
        temperature: tau, 1 on ImageNet; 4 on CIFAR-100. The square multiplies both parts.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B], where each row is its own
            inter-class part plus the whole batch's intra-class part.
        backend: of the inter-class part, ``"auto"``, ``"torch"`` or ``"triton"``; see :mod:`kdzoo.kernels.dispatch`.

    Source: Huang et al., Knowledge Distillation from A Stronger Teacher, NeurIPS 2022.

    Example:
        >>> loss = dist(student_logits, teacher_logits, beta=1.0, gamma=1.0, temperature=4.0)
        >>> loss.backward()
    """
    student, teacher = check_pair(student_logits, teacher_logits)
    check_weight(beta, "beta")
    check_weight(gamma, "gamma")
    check_temperature(temperature)
    p, q = F.softmax(student / temperature, dim=1), F.softmax(teacher / temperature, dim=1)
    inter = fused("dist_inter", backend, student_logits, teacher_logits, None, "none", temperature=temperature)
    if inter is None:
        inter = temperature**2 * (1 - _correlation(p, q, dim=1))  # [B]
    intra = 1 - _correlation(p, q, dim=0).mean()
    return reduce(beta * inter + temperature**2 * gamma * intra, reduction)


def _correlation(x: Tensor, y: Tensor, dim: int, eps: float = 1e-8) -> Tensor:
    """Pearson's along ``dim``; ``y`` is constant to the gradient."""
    centred, other = x - x.mean(dim, keepdim=True), y - y.mean(dim, keepdim=True)
    norm, length = torch.linalg.vector_norm(centred, dim=dim), torch.linalg.vector_norm(x, dim=dim)
    rho = (centred * other).sum(dim) / (norm * torch.linalg.vector_norm(other, dim=dim) + eps)
    return torch.where(norm <= SPREAD_FLOOR * length, rho.detach(), rho)


@reference("dist_inter")
def _inter_rows(student: Tensor, teacher: Tensor, target: None, temperature: float) -> Tensor:
    p, q = F.softmax(student / temperature, dim=1), F.softmax(teacher / temperature, dim=1)
    return temperature**2 * (1 - _correlation(p, q, dim=1))
