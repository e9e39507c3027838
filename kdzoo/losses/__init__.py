"""Losses. The maths is in ``kdzoo.losses.functional``; a config names the modules.

A loss is an ``nn.Module`` registered in ``kdzoo.registry.LOSSES``, called as
``loss(student: ModelOutput, teacher: ModelOutput | None, target) -> scalar``.
Two class attributes tell the Distiller what to hand it, both ``False`` where absent:
``needs_teacher`` and ``needs_features`` (stage maps of both models, beyond the logits).
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from kdzoo.registry import LOSSES


def build_loss(cfg: Mapping[str, Any], place: str = "") -> nn.Module:
    """Build a registered loss from ``dict(type="KD", temperature=2.0)``.

    Args:
        cfg: ``type`` and the loss's keywords.
        place: where it stands in a config, for error messages.

    Raises:
        ConfigError: an unknown type or keyword, with the nearest known names.

    Example:
        >>> loss = build_loss(dict(type="KD", temperature=2.0, standardize=True))
        >>> value = loss(student_output, teacher_output, target)
    """
    return LOSSES.build(cfg, place)
