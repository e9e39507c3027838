"""Anchored listwise distillation as a module."""

from typing import Literal

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.functional.checks import check_temperature, widen
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class AnchoredKD(nn.Module):
    """KL(q || softmax((s - s_ref) / tau)); see :func:`kdzoo.losses.functional.anchored_kd`.

    ======= ======= ===================================================================
    target  anchor  what it is
    ======= ======= ===================================================================
    teacher none    KD without its factor temperature^2
    teacher teacher the student differs from the teacher by the teacher's own ranking
    label   teacher listwise DPO: prefer the label more than the teacher does
    label   none    cross-entropy at a temperature
    ======= ======= ===================================================================

    Args:
        temperature: tau, of the anchored student; KD's 4.
        target: q is the teacher's probabilities or the label.
        anchor: s_ref is the teacher's logits or absent.
        target_temperature: of the teacher's probabilities; ``None`` for ``temperature``.

    Example:
        >>> loss = AnchoredKD(target="label", anchor="teacher", temperature=10.0)
        >>> value = loss(student_output, teacher_output, target)
    """

    def __init__(
        self,
        temperature: float = 4.0,
        target: Literal["teacher", "label"] = "teacher",
        anchor: Literal["teacher", "none"] = "teacher",
        target_temperature: float | None = None,
    ):
        super().__init__()
        for name, value, known in (("target", target, ("teacher", "label")), ("anchor", anchor, ("teacher", "none"))):
            if value not in known:
                raise ValueError(f"{name} must be {known[0]!r} or {known[1]!r}, got {value!r}")
        self.temperature = check_temperature(temperature)
        self.target_temperature = check_temperature(temperature if target_temperature is None else target_temperature)
        self.target, self.anchor = target, anchor
        self.needs_teacher = "teacher" in (target, anchor)

    def forward(self, student: ModelOutput, teacher: ModelOutput | None, target: Tensor) -> Tensor:
        if self.target == "teacher":
            target = (widen(teacher.logits) / self.target_temperature).softmax(dim=1)
        anchor = teacher.logits if self.anchor == "teacher" else None
        return KF.anchored_kd(student.logits, target, anchor, self.temperature)
