"""PKT: the probability that one image picks another as its neighbour is the teacher's."""

from torch import Tensor, nn

from kdzoo.losses.features import pooled_pair, unit, wide_pair
from kdzoo.losses.functional.checks import full_precision, reduce
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES

EPS = 1e-7  # added to both probabilities inside the logarithm, as in the authors' code


def neighbours(points: Tensor) -> Tensor:
    """[B, D] -> [B, B]: cosine similarities, shifted to [0, 1], each row divided by its sum."""
    direction = unit(points, dim=1)
    # Rounding puts opposite directions a little under -1, where the published logarithm turns NaN.
    similarity = ((direction @ direction.T + 1) / 2).clamp(min=0)
    # A zero vector is 1/2 from all, itself too; no row sums to less than that.
    return similarity / similarity.sum(1, keepdim=True)


def neighbour_divergence(student: Tensor, teacher: Tensor, reduction: str = "mean") -> Tensor:
    """KL divergence of the two models' neighbour probabilities, over B.

    Args:
        student: [B, D_s].
        teacher: [B, D_t]; detached.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
    """
    student, teacher = wide_pair(student, teacher)
    with full_precision(student):
        p, q = neighbours(student), neighbours(teacher)
    return reduce((q * ((q + EPS) / (p + EPS)).log()).mean(1), reduction)


@LOSSES.register()
class PKT(nn.Module):
    r"""Probabilistic knowledge transfer: :math:`\frac{1}{B^2} \sum_{ij} q_{ij} \log \frac{q_{ij} + \epsilon}{p_{ij} +
    \epsilon}` on the pooled features [B, D], with :math:`p_{ij} \propto (\cos(x_i, x_j) + 1) / 2`, q likewise of
    the teacher, rows summing to 1.

    Needs no adapter. Invariant to rotations and to the length of every vector. A vector shorter than 1e-4
    is equally near to all images, without gradient; one image gives 0. Depends on the batch of each process.

    Published weight: 30000, beside cross-entropy 1.

    Source: Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer, ECCV
    2018. The kernel, eps 1e-7 and the mean over all B^2 pairs are the authors' code's, as in
    RepDistiller and mdistiller; the paper's divergence is a sum, which leaves out each image's own pair.

    Example:
        >>> loss = PKT()
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True
    needs_features = True

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        return neighbour_divergence(*pooled_pair(student, teacher, "PKT"))
