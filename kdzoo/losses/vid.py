"""VID: the student's map predicts the teacher's, with a learnt variance for each channel."""

from math import expm1, log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.losses.features import check_stages, pair_up, same_size, wide_pair
from kdzoo.losses.functional.checks import full_precision, reduce
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


def gaussian_surprise(mean: Tensor, variance: Tensor, teacher_map: Tensor, reduction: str = "mean") -> Tensor:
    r"""Half of :math:`(\mu - F_t)^2 / \sigma^2 + \log \sigma^2`, mean over D, H and W.

    Args:
        mean: the prediction [B, D, H, W].
        variance: [D], above 0.
        teacher_map: [B, D, H, W]; detached.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
    """
    variance = variance.view(-1, 1, 1)
    mean, wanted = wide_pair(mean, teacher_map)
    surprise = (mean - wanted).square() / variance + variance.log()
    return reduce(0.5 * surprise.mean((1, 2, 3)), reduction)


@LOSSES.register()
class VID(nn.Module):
    r"""Variational information distillation: :math:`\frac12 [(\mu(F_s) - F_t)^2 / \sigma^2 + \log \sigma^2]`, mean
    over batch, channels and positions, sum over the stages; it may be negative.

    The prediction :math:`\mu` is three 1x1 convolutions with ReLU between; each of the teacher's channels has a
    variance :math:`\sigma^2 = \mathrm{softplus}(\alpha) + \epsilon`. Both are trained with the student.
    Of two sizes the larger map is average-pooled first.

    Args:
        initial_variance: 5, of every channel at the start; above ``eps``.
        eps: 1e-5, the smallest variance.
        stages: pairs [student's stage, teacher's stage]; all but the stem, in order, where ``None``.
        student_example, teacher_example: outputs with stage maps, which the adapters are made from.

    Published weight: 1, beside cross-entropy 1.

    Source: Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019; defaults
    and the mean (where the paper sums) from RepDistiller. mdistiller keeps the variances in a plain
    list, out of reach of the optimizer, so that they stay at 5 there.

    Example:
        >>> loss = VID(student_example=student_output, teacher_example=teacher_output)
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True
    needs_features = True

    def __init__(
        self,
        initial_variance: float = 5.0,
        eps: float = 1e-5,
        stages: list[list[int]] | None = None,
        *,
        student_example: ModelOutput,
        teacher_example: ModelOutput | None,
    ):
        super().__init__()
        if not 0 < eps < initial_variance:
            raise ValueError(f"eps must be between 0 and initial_variance, got {eps} and {initial_variance}")
        self.eps, self.stages = eps, check_stages(stages)
        pairs = pair_up(student_example, teacher_example, stages, "VID")
        widths = [(ours.shape[1], theirs.shape[1]) for ours, theirs in pairs]
        self.regressors = nn.ModuleList(regressor(*pair) for pair in widths)
        start = inverse_softplus(initial_variance - eps)
        self.scales = nn.ParameterList(torch.full((width,), start) for _, width in widths)

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        total = 0.0
        pairs = pair_up(student, teacher, self.stages, "VID")
        for pair, regress, scale in zip(pairs, self.regressors, self.scales, strict=True):
            ours, theirs = same_size(*pair)
            with full_precision(ours):
                total = total + gaussian_surprise(regress(ours), F.softplus(scale) + self.eps, theirs)
        return total


def regressor(width: int, out_width: int) -> nn.Sequential:
    convs = [nn.Conv2d(w, out_width, 1, bias=False) for w in (width, out_width, out_width)]
    return nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), convs[2])


def inverse_softplus(value: float) -> float:
    return value if value > 30 else log(expm1(value))
