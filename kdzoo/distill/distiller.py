"""The Distiller: a student, a frozen teacher and weighted losses become one scalar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdzoo.errors import ConfigError
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@dataclass
class LossTerm:
    """One entry of a config's ``losses``: a loss, its weight, and its name in logs."""

    name: str
    loss: nn.Module
    weight: float = 1.0

    @property
    def needs_teacher(self) -> bool:
        return getattr(self.loss, "needs_teacher", False)

    @property
    def needs_features(self) -> bool:
        return getattr(self.loss, "needs_features", False)


class StepLosses(NamedTuple):
    """What one forward of the Distiller gives; ``terms`` and ``correct`` carry no gradient."""

    total: Tensor  # scalar, float32
    terms: Tensor  # [number of losses], each times its weight
    correct: Tensor  # scalar, how many of the student's top classes are right


class Distiller(nn.Module):
    """Student + frozen teacher + losses -> one scalar.

    The teacher is in evaluation mode for good, sees no gradient, and is no submodule: it is in
    no state dict, no optimizer, and no DDP bucket. Student and teacher get the same images.

    Args:
        student: a model with ``outputs(images, features) -> ModelOutput``.
        terms: the weighted losses; their own parameters (adapters) train with the student.
        teacher: likewise, or ``None`` for plain training.

    Raises:
        ConfigError: a loss needs a teacher and there is none.

    Example:
        >>> distiller = Distiller(student, build_terms([dict(type="CrossEntropy")]))
        >>> distiller(images, target).total.backward()
    """

    def __init__(self, student: nn.Module, terms: Sequence[LossTerm], teacher: nn.Module | None = None):
        super().__init__()
        for number, term in enumerate(terms):
            if term.needs_teacher and teacher is None:
                message = f"{term.name} needs a teacher; set teacher = dict(checkpoint=...) or remove this loss"
                raise ConfigError(message, f"losses[{number}]")
        self.student = student
        self.losses = nn.ModuleList(term.loss for term in terms)
        self.names = [term.name for term in terms]
        self.weights = [float(term.weight) for term in terms]
        self.features = any(term.needs_features for term in terms)
        self.uses_teacher = any(term.needs_teacher for term in terms)
        object.__setattr__(self, "teacher", teacher)  # past nn.Module's registration, see above
        if teacher is not None:
            teacher.eval().requires_grad_(False)

    def forward(self, images: Tensor, target: Tensor, teacher_logits: Tensor | None = None) -> StepLosses:
        """One training forward.

        Args:
            images: [B, C, H, W] in [0, 1].
            target: [B] class indices or [B, num_classes] soft labels.
            teacher_logits: [B, num_classes] computed before, for these very images; spares the teacher.
        """
        taught = None
        if self.uses_teacher:
            taught = self.teach(images) if teacher_logits is None else ModelOutput(teacher_logits)
        student = self.student.outputs(images, features=self.features)
        hard = target if target.ndim == 1 else target.argmax(dim=1)
        with torch.autocast(images.device.type, enabled=False):
            terms = torch.stack(
                [w * loss(student, taught, target).float() for w, loss in zip(self.weights, self.losses, strict=True)]
            )
        correct = (student.logits.detach().argmax(dim=1) == hard).sum()
        return StepLosses(terms.sum(), terms.detach(), correct)

    @torch.no_grad()
    def teach(self, images: Tensor) -> ModelOutput:
        """The teacher's output for [B, C, H, W] images."""
        return self.teacher.outputs(images, features=self.features)


def build_terms(losses: Sequence[Mapping[str, Any]]) -> list[LossTerm]:
    """The config's ``losses`` list -> LossTerms; ``weight`` (1 where absent) belongs to the term, not to the loss."""
    if not losses:
        raise ConfigError("expected at least one loss; write losses = [dict(type='CrossEntropy')]", "losses")
    terms: list[LossTerm] = []
    for number, entry in enumerate(losses):
        place = f"losses[{number}]"
        if not isinstance(entry, Mapping):
            raise ConfigError(f"expected dict(type=...), got {entry!r}", place)
        weight = entry.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            raise ConfigError(f"expected a number for 'weight', got {weight!r}", place)
        loss = LOSSES.build({k: v for k, v in entry.items() if k != "weight"}, place)
        taken = sum(term.name.split("#")[0] == entry["type"] for term in terms)
        terms.append(LossTerm(f"{entry['type']}#{taken + 1}" if taken else entry["type"], loss, weight))
    return terms
