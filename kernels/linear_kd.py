"""Linear classifier and KD in one: the logits of the batch are never stored."""

import torch
from torch import Tensor

from kdzoo.kernels.kd import kd


def linear_kd(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    teacher: Tensor | tuple[Tensor, Tensor, Tensor | None],
    *,
    temperature: float = 4.0,
    standardize: bool = False,
    reduction_scale: float = 1.0,
    need_grad: bool = True,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """KD of ``features @ weight.T + bias``, some rows at a time.

    Student logits exist for ``chunk`` rows only, with their gradient; so do the teacher's, where it is given by its
    own features. The weight's gradient is summed in float32.

    Args:
        features: [B, D] of the student.
        weight: [C, D], in the type of ``features``.
        bias: [C] or ``None``.
        teacher: logits [B, C], or the teacher's (features [B, E], weight [C, E], bias [C] or ``None``).
        temperature, standardize: of :func:`kdzoo.losses.functional.kd`.
        reduction_scale: every gradient is that of ``reduction_scale`` times the sum of the rows' losses.
        need_grad: without it the last three results are ``None``.
        chunk: rows at a time; by default as many as make a chunk's logits as large as the features, and at least 128.

    Returns:
        loss [B] float32, and the gradients to features [B, D], weight [C, D] and bias [C] (``None`` without bias),
        each in its own tensor's type.
    """
    rows, (classes, width) = features.shape[0], weight.shape
    if features.ndim != 2 or features.shape[1] != width:
        raise ValueError(f"features must be [B, {width}] for weight {list(weight.shape)}, got {list(features.shape)}")
    chunk = chunk or max(128, rows * width // classes)
    loss = torch.empty(rows, dtype=torch.float32, device=features.device)
    to_features = torch.empty_like(features) if need_grad else None
    to_weight = torch.zeros_like(weight, dtype=torch.float32) if need_grad else None
    to_bias = torch.zeros_like(bias, dtype=torch.float32) if need_grad and bias is not None else None
    for start in range(0, rows, chunk):
        part = slice(start, start + chunk)
        logits = torch.nn.functional.linear(features[part], weight, bias)
        loss[part], grad = kd(
            logits,
            _teacher_logits(teacher, part),
            temperature=temperature,
            standardize=standardize,
            reduction_scale=reduction_scale,
            need_grad=need_grad,
        )
        if need_grad:
            torch.mm(grad, weight, out=to_features[part])
            to_weight += grad.T @ features[part]
            if to_bias is not None:
                to_bias += grad.sum(dim=0, dtype=torch.float32)
    if not need_grad:
        return loss, None, None, None
    return loss, to_features, to_weight.to(weight.dtype), None if bias is None else to_bias.to(bias.dtype)


def _teacher_logits(teacher: Tensor | tuple[Tensor, Tensor, Tensor | None], part: slice) -> Tensor:
    if isinstance(teacher, Tensor):
        return teacher[part]
    features, weight, bias = teacher
    return torch.nn.functional.linear(features[part], weight, bias)
