"""BinaryKL as a module, with its auxiliary head."""

from typing import Literal

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.aux_head import aux_logits, build_aux_head
from kdzoo.losses.functional.checks import check_temperature
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class BinaryKL(nn.Module):
    """Each class as a binary problem, on an auxiliary head; see :func:`kdzoo.losses.functional.binary_kl`.

    Dual-head distillation: the teacher's logits are learnt by a second head on the student's pooled
    features, since on one head this loss and cross-entropy pull apart. The head is part of this
    loss: it trains with the student, and the student is saved without it. Published beside cross-entropy of
    weight 1, with the gradients aligned (``kdzoo.distill.align_gradients``) on CIFAR-100, and with
    weight 0.1 for the first 50 of 100 epochs (``until_epoch=50``) on ImageNet.

    Args:
        temperature: 2 as in the authors' scripts.
        head: ``"linear"``, or ``"nonlinear"`` as in the authors' CIFAR-100 example.
        hidden: width of the nonlinear head, 200.
        dropout: of the nonlinear head, 0.1.
        student_example: an output with ``pooled``, which the head is made from. Without one (a Distiller gives
            one), or for a student with ``aux_logits`` of its own, no head is made: the loss
            is taken on ``student.aux_logits``, or on ``student.logits`` where there are none.

    Source: Yang et al., Dual-Head Knowledge Distillation, KDD 2025 (arXiv 2411.08937).

    Example:
        >>> loss = BinaryKL(head="nonlinear", student_example=student_output)
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True
    functional = staticmethod(KF.binary_kl)

    def __init__(
        self,
        temperature: float = 2.0,
        head: Literal["linear", "nonlinear"] = "linear",
        hidden: int = 200,
        dropout: float = 0.1,
        *,
        student_example: ModelOutput | None = None,
    ):
        super().__init__()
        self.temperature = check_temperature(temperature)
        self.head = build_aux_head(head, student_example, hidden, dropout)

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        return self.functional(aux_logits(self.head, student), teacher.logits, self.temperature)
