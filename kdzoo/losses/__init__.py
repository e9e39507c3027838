"""Losses. The maths is in ``kdzoo.losses.functional``; a config names the modules.

A loss is an ``nn.Module`` registered in ``kdzoo.registry.LOSSES``, called as
``loss(student: ModelOutput, teacher: ModelOutput | None, target) -> scalar``.
Attributes tell the Distiller what to hand it, all ``False`` where absent: ``needs_teacher``,
``needs_features`` (stage maps of both models, beyond the logits), ``needs_index`` (positions in
the training set) and ``needs_second`` (a second view of the images). A constructor that has to know shapes takes
them by keyword from what the Distiller's ``loss_context`` offers: ``student_example`` and
``teacher_example`` (outputs of two images), ``num_classes``, ``train_size``, ``epochs``, and in a training also
``train_labels`` ([train_size] int64). A method ``set_epoch(epoch)`` is called as each epoch begins, from 0.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from kdzoo.registry import LOSSES


def build_loss(cfg: Mapping[str, Any], place: str = "", **context: Any) -> nn.Module:
    """Build a registered loss from ``dict(type="KD", temperature=2.0)``.

    Args:
        cfg: ``type`` and the loss's keywords.
        place: where it stands in a config, for error messages.
        context: what its constructor may take from its surroundings, see above.

    Raises:
        ConfigError: an unknown type or keyword, with the nearest known names.

    Example:
        >>> loss = build_loss(dict(type="KD", temperature=2.0, standardize=True))
        >>> value = loss(student_output, teacher_output, target)
    """
    return LOSSES.build(cfg, place, **context)
