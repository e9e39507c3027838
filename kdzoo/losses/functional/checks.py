"""What every functional loss does first and last: check and widen its inputs, reduce its rows."""

import torch
from torch import Tensor


def widen(logits: Tensor) -> Tensor:
    """Half precision becomes float32 (the losses' small terms vanish in it); the rest stays as it is."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def check_logits(logits: Tensor, name: str) -> Tensor:
    """Widened ``logits``; ValueError unless they are a floating [B, C] with C >= 2."""
    if logits.ndim != 2 or not logits.is_floating_point():
        raise ValueError(f"{name} must be floating logits [B, C], got {logits.dtype} {list(logits.shape)}")
    if logits.shape[1] < 2:
        raise ValueError(f"{name} must have at least 2 classes, got {list(logits.shape)}")
    return widen(logits)


def check_pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both widened, the teacher detached; ValueError unless they have one shape [B, C]."""
    if student.shape != teacher.shape:
        shapes = f"{list(student.shape)} and {list(teacher.shape)}"
        raise ValueError(f"student_logits and teacher_logits must have one shape, got {shapes}")
    return check_logits(student, "student_logits"), check_logits(teacher.detach(), "teacher_logits")


def reduce(rows: Tensor, reduction: str) -> Tensor:
    """[B] -> scalar for ``"mean"`` (over the batch) and ``"sum"``; ``"none"`` keeps [B]."""
    if reduction == "mean":
        return rows.mean()
    if reduction == "sum":
        return rows.sum()
    if reduction == "none":
        return rows
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def check_temperature(temperature: float) -> float:
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    return temperature
