"""The losses an attack climbs, by name."""

import warnings
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from kdzoo.robust.attacks.dlr import dlr, targeted_dlr

# (logits [B, K], target [B], wanted [B] or None) -> [B], larger for a stronger attack.
AttackLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]

LOSSES: dict[str, AttackLoss] = {
    "ce": lambda logits, target, wanted: F.cross_entropy(logits, target, reduction="none"),
    "dlr": lambda logits, target, wanted: dlr(logits, target),
    "ce-targeted": lambda logits, target, wanted: -F.cross_entropy(logits, wanted, reduction="none"),
    "dlr-targeted": lambda logits, target, wanted: targeted_dlr(logits, target, wanted),
}
_LEAST = {"dlr": 3, "dlr-targeted": 4}
_INSTEAD = {"dlr": "ce", "dlr-targeted": "ce-targeted"}


def check_loss(loss: str) -> None:
    if loss not in LOSSES:
        raise ValueError(f"loss is expected to be one of {', '.join(LOSSES)} but got {loss!r}")


def loss_for(loss: str, classes: int) -> str:
    """The name of the loss that can be used with so many classes; says so by a warning if it is another.

    DLR divides by a difference to the third largest logit, its targeted form to the third and fourth: with fewer
    classes cross entropy takes their place.

    Example:
        >>> loss_for("dlr", classes=2)
        'ce'
    """
    check_loss(loss)
    if classes >= _LEAST.get(loss, 2):
        return loss
    warnings.warn(
        f"the loss {loss} needs {_LEAST[loss]} classes but the model has {classes}: {_INSTEAD[loss]} takes its place",
        stacklevel=3,
    )
    return _INSTEAD[loss]
