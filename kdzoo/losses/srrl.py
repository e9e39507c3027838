"""SRRL: the teacher's own classifier reads the student's features as it reads the teacher's."""

import torch
from torch import Tensor, nn

from kdzoo.losses.features import as_map, connector, pooled_pair, stage_maps, wide_pair
from kdzoo.losses.functional.checks import check_weight, full_precision, reduce, widen
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


def squared_error(student: Tensor, teacher: Tensor, reduction: str = "mean") -> Tensor:
    """Squared error of [B, D], mean over D; scalar, or [B] for ``"none"``. The teacher is detached."""
    student, teacher = wide_pair(student, teacher)
    return reduce((student - teacher).square().mean(1), reduction)


@LOSSES.register()
class SRRL(nn.Module):
    r"""Softmax regression representation learning: :math:`\frac{\alpha}{D} \| h - h_t \|^2 + \frac{\beta}{C}
    \| W_t(h) - z_t \|^2`, mean over the batch, where h is the student's last stage map through a connector (1x1
    convolution, batch norm, ReLU, trained with the student) and global average pooling, :math:`h_t` and
    :math:`z_t` are the teacher's pooled features and logits, and :math:`W_t` is the teacher's frozen classifier.

    Args:
        alpha: weight of the features, 1.
        beta: weight of the logits, 1 as in the authors' ImageNet code; cls_KD has 5.
        student_example, teacher_example: outputs with stage maps and pooled features, which the connector is made from.
        teacher_classifier: maps the teacher's pooled features [B, D] to its logits [B, C]; it is frozen, and
            neither a parameter nor part of this loss's state.

    Published weight: 1, beside cross-entropy 1.

    Source: Yang et al., Knowledge Distillation via Softmax Regression Representation Learning, ICLR 2021; connector
    and both terms as in the authors' code (KD_SRRL) and cls_KD.

    Example:
        >>> examples = dict(student_example=student_output, teacher_example=teacher_output)
        >>> loss = SRRL(**examples, teacher_classifier=teacher.fc)
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True
    needs_features = True

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 1.0,
        *,
        student_example: ModelOutput,
        teacher_example: ModelOutput | None,
        teacher_classifier: nn.Module | None = None,
    ):
        super().__init__()
        if teacher_classifier is None:
            raise ValueError(
                "SRRL needs the teacher's classifier, a module from pooled features to logits, and got none; "
                "use a teacher with one, or pass teacher_classifier=<that module>"
            )
        self.alpha, self.beta = check_weight(alpha, "alpha"), check_weight(beta, "beta")
        width = as_map(stage_maps(student_example, "student", "SRRL")[-1], "student.features[-1]").shape[1]
        pooled = pooled_pair(student_example, teacher_example, "SRRL")[1]
        self.connector = connector(width, pooled.shape[1]).append(nn.ReLU())
        teacher_classifier.eval().requires_grad_(False)
        object.__setattr__(self, "teacher_classifier", teacher_classifier)  # past nn.Module's registration: see Args
        with torch.no_grad():
            logits = self.read(pooled)
        if logits.shape != teacher_example.logits.shape:
            shapes = f"{list(logits.shape)}, and the teacher's logits are {list(teacher_example.logits.shape)}"
            raise ValueError(f"teacher_classifier must map pooled features to the teacher's logits, but gives {shapes}")

    def read(self, pooled: Tensor) -> Tensor:
        """The teacher's classifier on [B, D], in the classifier's own precision."""
        like = [*self.teacher_classifier.parameters(), pooled][0]
        return widen(self.teacher_classifier(pooled.to(like.device, like.dtype)))

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        ours = as_map(stage_maps(student, "student", "SRRL")[-1], "student.features[-1]")
        theirs = pooled_pair(student, teacher, "SRRL")[1]
        with full_precision(ours):
            pooled = self.connector(ours).mean((2, 3))
            representation = squared_error(pooled, theirs)
            regression = squared_error(self.read(pooled), teacher.logits)
        return self.alpha * representation + self.beta * regression
