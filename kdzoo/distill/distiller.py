"""The Distiller: a student, a frozen teacher and weighted losses become one scalar."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdzoo.distill.terms import LossTerm
from kdzoo.errors import ConfigError
from kdzoo.models.fold import folded_or_none
from kdzoo.output import ModelOutput


class StepLosses(NamedTuple):
    """What one forward of the Distiller gives; ``correct`` carries no gradient, ``terms`` only with ``align``."""

    total: Tensor  # scalar, float32
    terms: Tensor  # [number of losses], each times its weight
    correct: Tensor  # scalar, how many of the student's top classes are right


class Distiller(nn.Module):
    """Student + frozen teacher + losses -> one scalar.

    The teacher is in evaluation mode for good, sees no gradient, and is no submodule: it is in
    no state dict, no optimizer, and no DDP bucket. Student and teacher get the same images.
    All else that trains (adapters, auxiliary heads, a learnt temperature) is part of a loss, and so of
    this module, but not of the student, which is saved and run without it.

    Args:
        student: a model with ``outputs(images, features) -> ModelOutput``.
        terms: the weighted losses; their own parameters train with the student.
        teacher: likewise, or ``None`` for plain training.
        align: keep the gradient of ``StepLosses.terms``, for :meth:`split` and
            :class:`kdzoo.distill.AlignedGradients`.

    Raises:
        ConfigError: a loss needs a teacher and there is none; nothing to align.

    Example:
        >>> distiller = Distiller(student, build_terms([dict(type="CrossEntropy")]))
        >>> distiller(images, target).total.backward()
    """

    def __init__(
        self, student: nn.Module, terms: Sequence[LossTerm], teacher: nn.Module | None = None, align: bool = False
    ):
        super().__init__()
        for number, term in enumerate(terms):
            if term.needs_teacher and teacher is None:
                message = f"{term.name} needs a teacher; set teacher = dict(checkpoint=...) or remove this loss"
                raise ConfigError(message, f"losses[{number}]")
        distils = [term.needs_teacher for term in terms]
        if align and len(set(distils)) < 2:
            raise ConfigError("aligning gradients takes a loss with a teacher and one without", "losses")
        self.student = student
        self.losses = nn.ModuleList(term.loss for term in terms)
        self.terms, self.align = list(terms), align
        self.names = [term.name for term in terms]
        self.features = any(term.needs_features for term in terms)
        self.needs_index = any(term.needs_index for term in terms)
        self.needs_second = any(term.needs_second for term in terms)
        # A teacher that only objectives use is run by them, on images of their own.
        self.uses_teacher = any(term.needs_teacher and not term.runs_networks for term in terms)
        self.runs_networks = any(term.runs_networks for term in terms)
        self.needs_student = not all(term.runs_networks for term in terms)
        # Tensors, so that a new epoch's weights reach compiled code and CUDA graphs.
        self.register_buffer("weights", torch.zeros(len(terms)), persistent=False)
        self.register_buffer("distils", torch.tensor(distils, dtype=torch.float32), persistent=False)
        # Past nn.Module's registration, see above.
        object.__setattr__(self, "teacher", teacher)
        object.__setattr__(self, "folded_teacher", None)
        if teacher is not None:
            teacher.eval().requires_grad_(False)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Set the weights of an epoch, counted from 0, and tell the losses that have ``set_epoch`` themselves.

        To be called as each epoch begins, a resumed one too: none of this is in the state dict.
        """
        self.weights.copy_(torch.tensor([term.weight_at(epoch) for term in self.terms]))
        for loss in self.losses:
            if hasattr(loss, "set_epoch"):
                loss.set_epoch(epoch)

    def forward(
        self,
        images: Tensor,
        target: Tensor,
        teacher_logits: Tensor | None = None,
        index: Tensor | None = None,
        second: Tensor | None = None,
    ) -> StepLosses:
        """One training forward.

        Args:
            images: [B, C, H, W] in [0, 1].
            target: [B] class indices or [B, num_classes] soft labels.
            teacher_logits: [B, num_classes] computed before, for these very images; spares the teacher.
            index: [B] int64 on the images' device, positions in the training set; where ``needs_index``.
            second: [B, C, H, W], a second view of the images; where ``needs_second``.
        """
        if self.needs_index and index is None:
            raise ValueError("a loss has a memory of the training images and needs index, their positions")
        if self.needs_second and second is None:
            raise ValueError("a loss is taken on a second view of the images and needs second")
        taught = None
        if self.uses_teacher:
            taught = self.teach(images) if teacher_logits is None else ModelOutput(teacher_logits)
        student = self._learn(images, index, second) if self.needs_student else None
        if self.needs_second and taught is not None:
            taught.second = self.teach(second)
        values, logits = [], None if student is None else student.logits
        for term, loss in zip(self.terms, self.losses, strict=True):
            if term.runs_networks:
                value, seen = loss(self.student, self.teacher, images, target)
                logits = seen if logits is None else logits
            else:
                with torch.autocast(images.device.type, enabled=False):
                    value = loss(*_views(term, student, taught), target)
            values.append(value.float())
        terms = torch.stack(values) * self.weights
        hard = target if target.ndim == 1 else target.argmax(dim=1)
        correct = (logits.detach().argmax(dim=1) == hard).sum()
        return StepLosses(terms.sum(), terms if self.align else terms.detach(), correct)

    def _learn(self, images: Tensor, index: Tensor | None, second: Tensor | None) -> ModelOutput:
        """The student's output, with that of the second view in it where a loss is taken on one."""
        student = self.student.outputs(images, features=self.features)
        student.index = index
        if self.needs_second:
            student.second = self.student.outputs(second, features=self.features)
            student.second.index = index
        return student

    def split(self, losses: StepLosses) -> tuple[Tensor, Tensor]:
        """The sum of the terms without and of those with a teacher, two scalars with gradients; takes ``align``."""
        return (losses.terms * (1 - self.distils)).sum(), (losses.terms * self.distils).sum()

    def fold_teacher(self, images: Tensor) -> None:
        """Let a copy of the teacher answer whose batch norms are folded into its convolutions.

        The same logits up to rounding in fewer passes over memory; a ninth less time of a resnet20 on a CPU. Nothing
        changes where a loss looks at the teacher's features, or where the teacher can't be folded (see
        :func:`kdzoo.models.fold.folded_or_none`). To be called once the teacher is where it will run.

        Args:
            images: [B, C, H, W], a few, to compare the two on.
        """
        if self.uses_teacher and not self.features:
            object.__setattr__(self, "folded_teacher", folded_or_none(self.teacher, images))

    @torch.no_grad()
    def teach(self, images: Tensor) -> ModelOutput:
        """The teacher's output for [B, C, H, W] images."""
        if self.folded_teacher is not None:
            return ModelOutput(self.folded_teacher(images))
        return self.teacher.outputs(images, features=self.features)


def _views(
    term: LossTerm, student: ModelOutput, taught: ModelOutput | None
) -> tuple[ModelOutput | None, ModelOutput | None]:
    """Both models' outputs for the view the term is taken on."""
    if term.view == "first":
        return student, taught
    return student.second, None if taught is None else taught.second
