"""What every functional loss does first and last: check and widen its inputs, reduce its rows.

Shapes and types are always checked. Values (NaN, labels out of range) are looked at on the CPU outside of
torch.compile only: on a GPU a look would make every step wait for the device, and the training loop's meters
name a term that became NaN.
"""

from math import isnan

import torch
from torch import Tensor

SUM_SLACK = 1e-2  # bfloat16 labels, each rounded to 0.4 % at most, are no mistake


def widen(logits: Tensor) -> Tensor:
    """Half precision becomes float32 (the losses' small terms vanish in it); the rest stays as it is."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def full_precision(like: Tensor) -> torch.autocast:
    """A context with autocast off: matrix products of a loss stay in float32."""
    return torch.autocast(like.device.type, enabled=False)


def check_logits(logits: Tensor, name: str, look: bool = True, wide: bool = True) -> Tensor:
    """Widened ``logits``; ValueError unless they are a floating [B, C] with B >= 1 and C >= 2, without NaN.

    ``wide=False`` gives them as they are, for a loss that may be fused: a kernel widens in registers, and a copy in
    float32 would take it longer than the loss.
    """
    shape = logits.shape  # each look at it makes a new one
    if len(shape) != 2 or not logits.is_floating_point():
        raise ValueError(f"{name} must be floating logits [B, C], got {logits.dtype} {list(shape)}")
    if shape[0] < 1 or shape[1] < 2:
        raise ValueError(f"{name} must have at least 1 row and at least 2 classes, got {list(shape)}")
    # The sum is NaN wherever an entry is, and a tenth of the price of isnan; it is so for inf - inf, too.
    if look and _visible(logits) and isnan(logits.detach().sum().item()) and logits.isnan().any():
        raise ValueError(f"{name} must be numbers, got NaN in row {int(logits.isnan().any(dim=1).nonzero()[0])}")
    return widen(logits) if wide else logits


def check_pair(
    student: Tensor, other: Tensor, name: str = "teacher_logits", detach: bool = True, look: bool = True,
    wide: bool = True,
) -> tuple[Tensor, Tensor]:
    """Both widened, the other (the teacher) detached; ValueError unless they have one shape [B, C].

    ``look=False`` leaves NaN to :func:`checked`, for losses that are NaN wherever a logit is. ``wide=False`` as for
    :func:`check_logits`.
    """
    if student.shape != other.shape:
        shapes = f"{list(student.shape)} and {list(other.shape)}"
        raise ValueError(f"student_logits and {name} must have one shape, got {shapes}")
    other = other.detach() if detach else other
    return check_logits(student, "student_logits", look, wide), check_logits(other, name, look, wide)


def checked(loss: Tensor, student: Tensor, teacher: Tensor) -> Tensor:
    """``loss`` itself; ValueError where it is NaN because a logit is. One number tells, instead of all logits."""
    if _visible(loss) and isnan(loss.item() if loss.ndim == 0 else loss.detach().sum().item()):
        check_pair(student, teacher, wide=False)
    return loss


def check_target(target: Tensor, logits: Tensor) -> Tensor:
    """Class indices [B] as int64, or soft labels [B, C] in the type of the widened ``logits``.

    Raises:
        ValueError: another shape or type; on the CPU also an index or a soft label out of range, and soft labels that
            do not sum to 1.
    """
    size, classes = logits.shape
    if target.shape == logits.shape:
        target = target.to(torch.promote_types(logits.dtype, torch.float32))
        if _visible(target):
            _check_soft(target.detach())
        return target
    if target.shape != (size,) or target.is_floating_point() or target.dtype == torch.bool:
        wanted = f"class indices [{size}] or soft labels {list(logits.shape)}"
        raise ValueError(f"target must be {wanted}, got {target.dtype} {list(target.shape)}")
    if _visible(target) and not _between(target, 0, classes - 1):
        found = f"{int(target.min())} to {int(target.max())}"  # not all: of a large batch that is pages
        raise ValueError(f"target must hold class indices 0 to {classes - 1}, got {found}")
    return target.long()


def _check_soft(target: Tensor) -> None:
    if not _between(target, 0.0, 1.0 + 1e-3):
        raise ValueError("target must hold soft labels between 0 and 1, got others (NaN, or logits?)")
    sums = target.sum(dim=1)
    if not _between(sums, 1 - SUM_SLACK, 1 + SUM_SLACK):
        found = f"{sums.min():.4g} to {sums.max():.4g}"
        raise ValueError(f"target must hold soft labels that sum to 1 in each row, got sums of {found}; divide by them")


def check_labels(target: Tensor, logits: Tensor) -> Tensor:
    """Class indices [B]: of soft labels [B, C] the largest entry's."""
    target = check_target(target, logits)
    return target if target.ndim == 1 else target.argmax(dim=1)


def reduce(rows: Tensor, reduction: str) -> Tensor:
    """[B] -> scalar for ``"mean"`` (over the batch) and ``"sum"``; ``"none"`` keeps [B]."""
    if reduction == "mean":
        return rows.mean()
    if reduction == "sum":
        return rows.sum()
    if reduction == "none":
        return rows
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def check_temperature(temperature: float | Tensor) -> float | Tensor:
    """``temperature`` itself; ValueError unless it is above 0. A learnt one (a tensor) is its module's business."""
    if not isinstance(temperature, Tensor) and not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be above 0 and finite, got {temperature}")
    return temperature


def check_weight(weight: float, name: str) -> float:
    """``weight`` itself; ValueError unless it is a finite number from 0 up."""
    if not 0 <= weight < float("inf"):
        raise ValueError(f"{name} must be 0 or more and finite, got {weight}")
    return weight


def _visible(x: Tensor) -> bool:
    """Whether a look at the values costs no waiting and is possible: not under torch.compile and torch.func."""
    if not x.is_cpu or torch.compiler.is_compiling():
        return False
    return torch._C._functorch.maybe_current_level() is None


def _between(x: Tensor, low: float, high: float) -> bool:
    """Whether all entries are; False with a NaN among them."""
    least, most = x.aminmax()
    return low <= least.item() and most.item() <= high
