"""MLKD: distillation at the levels of the image, the batch and the class, at five temperatures."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.functional.checks import check_temperature, widen
from kdzoo.losses.functional.mlkd import mlkd_class_rows
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES

# Besides the base temperature. The published strong view is taken at the base, 3 and 5 only.
FURTHER = (3.0, 5.0, 2.0, 6.0)


@LOSSES.register()
class MLKD(nn.Module):
    """Multi-level logit distillation: KD + ``mlkd_batch`` + ``mlkd_class``, each summed over five temperatures.

    KD is taken on two views of each image: the plain (weak) one, and a strongly augmented one
    (RandAugment) in ``student.second``. Batch and class level see the weak view only. The weak view's parts are
    masked: only images count whose teacher's confidence is at most the batch's median, and for the class
    level only classes whose summed teacher's probability is at most the median of the classes.

    - ``masks="published"``: what the authors' code computes, and its numbers rest on. There the losses
      are means before they meet the mask, so each is multiplied by the share of the mask (about a
      half), and the strong view's parts at temperatures 2 and 6 use the weak view.
    - ``masks="sample"``: the masks as described, row by row; all five strong parts use the strong view.

    Published with weight 1 (9 with ``standardize``), beside cross-entropy of weight 1 on each view
    (``dict(type="CrossEntropy", view="second")``). A Distiller insists on the second view; called by hand without
    one (``student.second`` is None), the strong view's parts are left out.

    Args:
        temperature: the base, 4 as in the authors' code, 2 with ``standardize``; the others are 2, 3, 5, 6.
        standardize: Z-score the logits of the KD parts first (Sun et al., CVPR 2024); the other parts keep raw logits.
        masks: ``"published"`` or ``"sample"``, see above.
        second_view: whether to use a second view; ``False`` leaves the strong view's parts out.

    Source: Jin et al., Multi-Level Logit Distillation, CVPR 2023; formulas from the authors' code.

    Example:
        >>> loss = MLKD(masks="sample")
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True

    def __init__(
        self,
        temperature: float = 4.0,
        standardize: bool = False,
        masks: Literal["published", "sample"] = "published",
        second_view: bool = True,
    ):
        super().__init__()
        if masks not in ("published", "sample"):
            raise ValueError(f"masks must be 'published' or 'sample', got {masks!r}")
        self.temperatures = (check_temperature(temperature), *FURTHER)
        self.standardize, self.masks, self.needs_second = standardize, masks, second_view

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        images, classes = _masks(teacher.logits)
        weak = student.logits, teacher.logits
        total = 0.0
        for temperature in self.temperatures:
            rows = self._kd(*weak, temperature, "none") + KF.mlkd_batch(*weak, temperature, reduction="none")
            columns = mlkd_class_rows(*weak, temperature)
            if self.masks == "sample":
                total = total + (rows * images).mean() + (columns * classes).mean()
            else:
                total = total + rows.mean() * images.mean() + columns.mean() * classes.mean()
        if self.needs_second and student.second is not None:
            total = total + self._strong(weak, (student.second.logits, teacher.second.logits))
        return total

    def _strong(self, weak: tuple[Tensor, Tensor], strong: tuple[Tensor, Tensor]) -> Tensor:
        views = [strong] * 5 if self.masks == "sample" else [strong, strong, strong, weak, weak]
        return sum(self._kd(*view, temperature) for view, temperature in zip(views, self.temperatures, strict=True))

    def _kd(self, student: Tensor, teacher: Tensor, temperature: float, reduction: str = "mean") -> Tensor:
        return KF.kd(student, teacher, temperature, self.standardize, reduction)


@torch.no_grad()
def _masks(teacher_logits: Tensor) -> tuple[Tensor, Tensor]:
    """[B] and [C], 1 for the images and classes that count, the less certain half."""
    q = F.softmax(widen(teacher_logits), dim=1)
    confidence, mass = q.amax(dim=1), q.sum(dim=0)
    return tuple((x <= _median(x)).to(q.dtype) for x in (confidence, mass))


def _median(x: Tensor) -> Tensor:
    """Of [N], the mean of the middle two where N is even; torch's takes the lower, its quantile breaks old graphs."""
    x = x.sort().values
    return (x[(len(x) - 1) // 2] + x[len(x) // 2]) / 2
