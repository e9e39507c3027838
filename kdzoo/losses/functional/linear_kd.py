"""KD of a linear classifier's logits that are never stored, for many classes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.kernels.dispatch import engine_by_chunks, implementation
from kdzoo.kernels.linear_kd import LinearKD, Teacher
from kdzoo.losses.functional.checks import check_temperature, full_precision
from kdzoo.losses.functional.kd import kd


@torch.compiler.disable  # a loop whose length follows from the shapes: compiled, it would be unrolled
def linear_kd(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    teacher: Teacher,
    temperature: float = 4.0,
    standardize: bool = False,
    reduction: str = "mean",
    backend: str = "auto",
    chunk: int | None = None,
) -> Tensor:
    """:func:`kd` of the logits ``features @ weight.T + bias``, which exist for a few rows at a time only.

    For many classes: at 8192 x 21841 in float32 the logits and their gradient take 2 x 716 MB, here 2 x 17 MB with 512
    features. It costs no more products than the plain form; all gradients are ready after the forward. Under autocast
    the products are of its type, as a linear layer's are.

    Args:
        features: [B, D], the classifier's input.
        weight: [C, D], with a gradient, too.
        bias: [C] or ``None``.
        teacher: logits [B, C], or the teacher's own (features [B, E], weight [C, E], bias [C] or ``None``), whose
            logits are not stored either; detached.
        temperature: T, a number above 0.
        standardize: replace both logits by their Z-scores first.
        reduction: ``"mean"`` over the batch or ``"sum"``.
        backend: ``"auto"``, ``"torch"`` (the plain form, which stores the logits) or ``"triton"``.
        chunk: rows at a time; by default as many as make their logits as large as the features, and at least 128.

    Raises:
        ValueError: shapes that do not fit, a temperature that is no number above 0, ``reduction="none"``.
        RuntimeError: on a second derivative.

    Source: KD as in :func:`kd`; the idea to compute a loss of logits by chunks, gradient included, is of Hsu et al.,
    Liger Kernel: Efficient Triton Kernels for LLM Training, 2024.

    Example:
        >>> loss = linear_kd(student.pooled, head.weight, head.bias, teacher_logits, temperature=2.0)
        >>> loss.backward()
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}; rows have no gradient of their own")
    if isinstance(temperature, Tensor):
        raise ValueError("temperature must be a number, got a tensor; for a learnt one use kd of the logits")
    check_temperature(temperature)
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be 1 or more, or None, got {chunk}")
    check_linear(features, weight, bias, "features")
    ours, theirs = _cast(features, weight, bias), _detached(teacher, [len(features), len(weight)])
    options = dict(temperature=temperature, standardize=standardize)
    engine = engine_by_chunks(backend, ours[0])
    with full_precision(features):
        if engine is None:
            logits = theirs if isinstance(theirs, Tensor) else F.linear(*theirs)
            return kd(F.linear(*ours), logits, reduction=reduction, backend="torch", **options)
        options |= dict(chunk=chunk)
        by, recorded = implementation("kd", engine), torch.is_grad_enabled()
        return LinearKD.apply(*ours, theirs, by, options, reduction == "mean", recorded)


def _cast(features: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """In autocast's type where it is on, as a linear layer's; else in the widest of theirs."""
    kind = features.device.type
    dtype = torch.promote_types(features.dtype, weight.dtype)
    if torch.is_autocast_enabled(kind) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(kind)
    return features.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


def _detached(teacher: Teacher, shape: list[int]) -> Teacher:
    """Checked to be, or to make, logits of that shape."""
    if isinstance(teacher, Tensor):
        if list(teacher.shape) != shape or not teacher.is_floating_point():
            got = f"{teacher.dtype} {list(teacher.shape)}"
            raise ValueError(f"the teacher's logits must be floating {shape}, got {got}")
        return teacher.detach()
    check_linear(*teacher, "the teacher's features")
    if [len(teacher[0]), len(teacher[1])] != shape:
        raise ValueError(f"the teacher's logits must be {shape}, its tensors make {[len(x) for x in teacher[:2]]}")
    return _cast(*(None if x is None else x.detach() for x in teacher))


def check_linear(features: Tensor, weight: Tensor, bias: Tensor | None, name: str) -> None:
    """ValueError unless they are floating [B, D], [C, D] and [C] with B >= 1 and C >= 2."""
    shapes = [list(x.shape) for x in (features, weight) if x.is_floating_point()]
    if len(shapes) < 2 or features.ndim != 2 or weight.ndim != 2 or features.shape[1] != weight.shape[1]:
        got = f"{features.dtype} {list(features.shape)} and {weight.dtype} {list(weight.shape)}"
        raise ValueError(f"{name} must be floating [B, D] for a weight [C, D], got {got}")
    if len(features) < 1 or len(weight) < 2:
        raise ValueError(f"{name} must have at least 1 row and its weight at least 2 classes, got {shapes}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"the bias must be [{len(weight)}] or None, got {list(bias.shape)}")
