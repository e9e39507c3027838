"""The config's ``losses``: weighted terms, and what their constructors may ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdzoo.errors import ConfigError, did_you_mean
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES, OBJECTIVES, Registry, construct


@dataclass
class LossTerm:
    """One entry of a config's ``losses``.

    Args:
        name: in logs.
        loss: the module.
        weight: of the loss in the sum.
        warmup_epochs: the weight is multiplied by min(e / warmup_epochs, 1) in the e-th epoch, e
            from 1 (DKD and ReviewKD use 20); 0 for none.
        until_epoch: the term counts for this many epochs and is off from then on (DHKD on
            ImageNet: 50 of 100); ``None`` for always.
        view: which view of the images the loss is taken on, ``"first"`` or the strongly augmented ``"second"``.
    """

    name: str
    loss: nn.Module
    weight: float = 1.0
    warmup_epochs: int = 0
    until_epoch: int | None = None
    view: Literal["first", "second"] = "first"

    def __post_init__(self):
        if not isfinite(self.weight):
            raise ValueError(f"weight must be finite, got {self.weight}")
        if self.warmup_epochs < 0:
            raise ValueError(f"warmup_epochs must be 0 or more, got {self.warmup_epochs}")
        if self.until_epoch is not None and self.until_epoch < 1:
            raise ValueError(f"until_epoch must be 1 or more, got {self.until_epoch}")

    def weight_at(self, epoch: int) -> float:
        """The weight in an epoch, counted from 0."""
        if self.until_epoch is not None and epoch >= self.until_epoch:
            return 0.0
        return self.weight * min((epoch + 1) / self.warmup_epochs, 1.0) if self.warmup_epochs else float(self.weight)

    @property
    def needs_teacher(self) -> bool:
        return getattr(self.loss, "needs_teacher", False)

    @property
    def needs_features(self) -> bool:
        return getattr(self.loss, "needs_features", False)

    @property
    def needs_index(self) -> bool:
        return getattr(self.loss, "needs_index", False)

    @property
    def needs_second(self) -> bool:
        return self.view == "second" or getattr(self.loss, "needs_second", False)

    @property
    def runs_networks(self) -> bool:
        """Whether it is an objective, see ``kdzoo.robust.objectives``."""
        return getattr(self.loss, "runs_networks", False)


TERM_KEYS = tuple(field.name for field in fields(LossTerm) if field.name not in ("name", "loss"))


def build_terms(losses: Sequence[Mapping[str, Any]], **context: Any) -> list[LossTerm]:
    """The config's ``losses`` list -> LossTerms.

    Args:
        losses: ``dict(type=..., ...)`` each; ``weight``, ``warmup_epochs``, ``until_epoch`` and ``view`` belong to
            the term, the other keys to the loss.
        context: what the losses' constructors may take by keyword, see :func:`loss_context`.

    Raises:
        ConfigError: with its place, ``losses[1]``.

    Example:
        >>> terms = build_terms([dict(type="CrossEntropy"), dict(type="DKD", beta=2.0, warmup_epochs=20)])
    """
    if not losses:
        raise ConfigError("expected at least one loss; write losses = [dict(type='CrossEntropy')]", "losses")
    terms: list[LossTerm] = []
    for number, entry in enumerate(losses):
        place = f"losses[{number}]"
        if not isinstance(entry, Mapping):
            raise ConfigError(f"expected dict(type=...), got {entry!r}", place)
        loss = _registry(entry, place).build({k: v for k, v in entry.items() if k not in TERM_KEYS}, place, **context)
        taken = sum(term.name.split("#")[0] == entry["type"] for term in terms)
        name = f"{entry['type']}#{taken + 1}" if taken else entry["type"]
        keys = {k: v for k, v in entry.items() if k in TERM_KEYS}
        terms.append(construct(LossTerm, dict(name=name, loss=loss, **keys), place, label=entry["type"]))
    return terms


def _registry(entry: Mapping[str, Any], place: str) -> Registry:
    """Where the entry's type is registered; objectives are only imported for a name that no loss has."""
    name = entry.get("type")
    if not isinstance(name, str) or name in LOSSES.names():
        return LOSSES
    if name in OBJECTIVES.names():
        return OBJECTIVES
    raise ConfigError(f"unknown loss {name!r}{did_you_mean(name, [*LOSSES.names(), *OBJECTIVES.names()])}", place)


def check_term(entry: Any, place: str, taught: bool) -> None:
    """Tell the mistakes of an entry that can be seen before any network is built.

    Args:
        entry: one of the config's ``losses``.
        place: of the entry, ``losses[1]``.
        taught: whether there is a teacher.

    Raises:
        ConfigError: no dict, an unknown loss or keyword, a missing teacher.
    """
    if not isinstance(entry, Mapping):
        raise ConfigError(f"expected dict(type=...), got {entry!r}", place)
    loss, _ = _registry(entry, place).check({k: v for k, v in entry.items() if k not in TERM_KEYS}, place)
    if getattr(loss, "needs_teacher", False) is True and not taught:
        message = f"{entry['type']} needs a teacher; set teacher = dict(checkpoint=...) or remove this loss"
        raise ConfigError(message, place)


@torch.no_grad()
def loss_context(
    student: nn.Module, teacher: nn.Module | None, images: Tensor, train_size: int, epochs: int
) -> dict[str, Any]:
    """What a loss's constructor may take by keyword; for :func:`build_terms`.

    Args:
        student, teacher: models with ``outputs(images, features) -> ModelOutput``.
        images: [2, C, H, W], of which only the shape matters.
        train_size: training images, the range of ``student.index``.
        epochs: of the whole training.

    Returns:
        ``student_example`` and ``teacher_example`` (``None`` without a teacher): ModelOutputs of the
        two images with stage maps, ``num_classes``, ``train_size``, ``epochs``.
    """
    student_example = _example(student, images)
    return dict(
        student_example=student_example,
        teacher_example=None if teacher is None else _example(teacher, images),
        num_classes=student_example.logits.shape[1],
        train_size=train_size,
        epochs=epochs,
    )


def _example(model: nn.Module, images: Tensor) -> ModelOutput:
    """The model's output in evaluation mode, so that no statistics move; every module's mode is as before then."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        return model.outputs(images, features=True)
    finally:
        for module, mode in modes.items():
            module.training = mode
