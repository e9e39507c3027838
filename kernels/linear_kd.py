"""Linear classifier and KD in one: the logits of the batch are never stored."""

from collections.abc import Callable

import torch
from torch import Tensor

Teacher = Tensor | tuple[Tensor, Tensor, Tensor | None]


def linear_kd(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    teacher: Teacher,
    kd: Callable[..., tuple[Tensor, Tensor | None]],
    *,
    temperature: float = 4.0,
    standardize: bool = False,
    reduction_scale: float = 1.0,
    need_grad: bool = True,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """KD of ``features @ weight.T + bias``, some rows at a time.

    Student logits exist for ``chunk`` rows only, with their gradient; so do the teacher's, where it is given by its
    own features. The weight's gradient is summed in float32 or wider.

    Args:
        features: [B, D] of the student.
        weight: [C, D], in the type of ``features``.
        bias: [C] or ``None``.
        teacher: logits [B, C], or the teacher's (features [B, E], weight [C, E], bias [C] or ``None``).
        kd: what computes a chunk, by the signature of ``kernels/cpu.py`` and ``kernels/triton.py``.
        temperature, standardize: of :func:`kdzoo.losses.functional.kd`.
        reduction_scale: every gradient is that of ``reduction_scale`` times the sum of the rows' losses.
        need_grad: without it the last three results are ``None``.
        chunk: rows at a time; by default as many as make a chunk's logits as large as the features, and at least 128.

    Returns:
        loss [B] in float32 or wider, and the gradients to features [B, D] in their type, to weight [C, D] and bias [C]
        (``None`` without bias) as they were summed, in float32 or wider.
    """
    rows, (classes, width) = len(features), weight.shape
    chunk = chunk or max(128, rows * width // classes)
    wide = torch.promote_types(features.dtype, torch.float32)
    loss = torch.empty(rows, dtype=wide, device=features.device)
    to_features = torch.empty_like(features) if need_grad else None
    to_weight = torch.zeros_like(weight, dtype=wide) if need_grad else None
    to_bias = torch.zeros_like(bias, dtype=wide) if need_grad and bias is not None else None
    options = dict(temperature=temperature, standardize=standardize)
    options |= dict(reduction_scale=reduction_scale, need_grad=need_grad)
    for start in range(0, rows, chunk):
        part = slice(start, start + chunk)
        logits = torch.nn.functional.linear(features[part], weight, bias)
        loss[part], grad = kd(logits, _teacher_logits(teacher, part), None, **options)
        if need_grad:
            torch.mm(grad, weight, out=to_features[part])
            to_weight += grad.T @ features[part]
            if to_bias is not None:
                to_bias += grad.sum(dim=0, dtype=wide)
    if not need_grad:
        return loss, None, None, None
    return loss, to_features, to_weight, to_bias


class LinearKD(torch.autograd.Function):
    """The mean or sum of the rows' losses as one node; its gradients are ready after the forward."""

    @staticmethod
    def forward(ctx, features, weight, bias, teacher, kd, options, mean, recorded):
        need = recorded and any(ctx.needs_input_grad[:3])  # which says yes under no_grad, too
        # float16 holds the gradient of the sum: over B it could underflow before a loss scale lifts it.
        late = mean and features.dtype == torch.float16
        scale = 1.0 / len(features) if mean and not late else 1.0
        loss, *grads = linear_kd(features, weight, bias, teacher, kd, reduction_scale=scale, need_grad=need, **options)
        ctx.save_for_backward(*grads)
        ctx.divisor, ctx.dtype = len(features) if late else 1, features.dtype  # all inputs are of one type
        return loss.mean() if mean else loss.sum()

    @staticmethod
    def backward(ctx, grad_loss):
        if torch.is_grad_enabled():
            raise RuntimeError(
                "linear_kd has no second derivatives (create_graph=True); use kd(F.linear(features, weight, bias), ...)"
            )
        factor = grad_loss / ctx.divisor  # in float32: a loss scale may be beyond float16
        asked = zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
        wanted = [grad if need else None for grad, need in asked]
        grads = [None if grad is None else (widened(grad) * factor).to(ctx.dtype) for grad in wanted]
        return *grads, None, None, None, None, None


def widened(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _teacher_logits(teacher: Teacher, part: slice) -> Tensor:
    if isinstance(teacher, Tensor):
        return teacher[part]
    features, weight, bias = teacher
    return torch.nn.functional.linear(features[part], weight, bias)
