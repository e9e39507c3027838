"""MGD: from a student's map with holes a generator makes the teacher's whole map."""

from typing import Literal

import torch
from torch import Tensor, nn

from kdzoo.losses.features import pair_up, same_size, wide_pair
from kdzoo.losses.functional.checks import full_precision, reduce
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


def reconstruction(generated: Tensor, teacher_map: Tensor, reduction: str = "mean") -> Tensor:
    """Squared error of two maps [B, D, H, W], sum over D, H and W; mean over the batch, or [B] for ``"none"``."""
    ours, theirs = wide_pair(generated, teacher_map)
    return reduce((ours - theirs).square().sum((1, 2, 3)), reduction)


@LOSSES.register()
class MGD(nn.Module):
    r"""Masked generative distillation: :math:`\| G(M \odot a(F_s)) - F_t \|^2` of the last stage maps, summed over
    D, H and W, mean over the batch.

    The alignment a (1x1 convolution, where the widths differ) and the generator G (3x3 convolution, ReLU, 3x3
    convolution) are trained with the student. The mask M, drawn anew at every call, sets whole channels
    (or whole positions) to zero. Of two sizes the larger map is average-pooled first.

    Args:
        masked: the part that is masked, 0.15; in [0, 1).
        mask: ``"channel"`` [B, D, 1, 1], or ``"position"`` [B, 1, H, W].
        student_example, teacher_example: outputs with stage maps, which the adapters are made from.

    Published weight: 7e-5, beside cross-entropy 1 (ImageNet; the sum grows with the map).

    Source: Yang et al., Masked Generative Distillation, ECCV 2022. Defaults from the authors' classification code
    (MGD and cls_KD), which masks channels; the paper masks positions, as their code does for detection.
    That code asserts equal sizes.

    Example:
        >>> loss = MGD(student_example=student_output, teacher_example=teacher_output)
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True
    needs_features = True

    def __init__(
        self,
        masked: float = 0.15,
        mask: Literal["channel", "position"] = "channel",
        *,
        student_example: ModelOutput,
        teacher_example: ModelOutput | None,
    ):
        super().__init__()
        if not 0 <= masked < 1:
            raise ValueError(f"masked must be in [0, 1), got {masked}")
        if mask not in ("channel", "position"):
            raise ValueError(f"mask must be 'channel' or 'position', got {mask!r}")
        self.masked, self.mask = masked, mask
        width, out_width = (x.shape[1] for x in self.last_maps(student_example, teacher_example))
        self.align = nn.Identity() if width == out_width else nn.Conv2d(width, out_width, 1)
        convs = [nn.Conv2d(out_width, out_width, 3, padding=1) for _ in range(2)]
        self.generator = nn.Sequential(convs[0], nn.ReLU(), convs[1])

    def last_maps(self, student: ModelOutput, teacher: ModelOutput | None) -> tuple[Tensor, Tensor]:
        return same_size(*pair_up(student, teacher, [[-1, -1]], "MGD")[0])

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        ours, theirs = self.last_maps(student, teacher)
        with full_precision(ours):
            ours = self.align(ours)
            size, width, height, breadth = ours.shape
            shape = (size, width, 1, 1) if self.mask == "channel" else (size, 1, height, breadth)
            kept = torch.rand(shape, device=ours.device) >= self.masked
            return reconstruction(self.generator(ours * kept), theirs)
