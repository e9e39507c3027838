"""The fused losses as operators ``torch.ops.kdzoo.NAME``: loss and gradient in one call, autograd, fake tensors.

Every operator is ``NAME(student, teacher, target, <parameters>, reduction, engine, need_grad) -> (loss, grad)``:
the loss reduced, and the gradient of the reduced loss [B, C] in the student's type ([0] without ``need_grad``), which
the backward multiplies by what comes in, on the device. ``engine`` is ``"cpu"`` (C, see
``kernels/cpu_native.py``, or the closed forms of ``kernels/cpu.py``, plain PyTorch that runs on any device) or
``"triton"``.

The gradient is computed in the forward, so it has no graph of its own: a backward with ``create_graph=True``
computes the loss again by its reference, which the module that has it hands over with :func:`reference`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from kdzoo.kernels.cpu_native import compute, covers

PARAMETERS = {
    "kd": "float temperature, bool standardize",
    "ce_kd": "float ce_weight, float kd_weight, float temperature, bool standardize",
    "dkd": "float alpha, float beta, float temperature, bool standardize",
    "nkd": "float gamma, float temperature",
    "binary_kl": "float temperature",
    "binary_kl_norm": "float temperature",
    "pld": "float temperature, float ce_weight, Tensor? order",
    "pld_topk": "int k, float temperature",
    "dist_inter": "float temperature",
    "l2_svm": "float C",
    "margin_softmax": "float scale, float margin, str kind",
    "cross_entropy": "float label_smoothing",
    "stablemax_cross_entropy": "",
}
HALF = (torch.float16, torch.bfloat16)
REFERENCES: dict[str, Callable[..., Tensor]] = {}
_library = torch.library.Library("kdzoo", "FRAGMENT")


def reference(name: str) -> Callable:
    """Decorator: this function is what the loss ``name`` is by definition.

    It is called as ``rows(student, teacher, target, **parameters) -> [B]`` with logits in float32 or wider, and is
    to be differentiable twice.
    """

    def register(rows: Callable[..., Tensor]) -> Callable[..., Tensor]:
        REFERENCES[name] = rows
        return rows

    return register


def call(
    name: str, student: Tensor, teacher: Tensor | None, target: Tensor | None, reduction: str, engine: str, **parameters
) -> Tensor:
    """The loss: scalar, or [B] with ``reduction="none"``; differentiable to the student.

    Under torch.compile it is the operator's. Elsewhere the same functions are called without it: two ways through
    the dispatcher cost more than the loss of 256 x 100 logits.

    Args:
        name: of PARAMETERS, whose parameters are to be given, all.
        student: [B, C] floating.
        teacher: [B, C] of the same type or another, or ``None``.
        target: class indices [B] int64, or ``None``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        engine: ``"cpu"`` or ``"triton"``.
    """
    need_grad = student.requires_grad and torch.is_grad_enabled()
    if torch.compiler.is_compiling():
        values = [parameters[key] for key in NAMES[name]]
        return OPERATORS[name](student, teacher, target, *values, reduction, engine, need_grad)[0]
    if need_grad:
        return _Direct.apply(student, (teacher, target, name, parameters, reduction, engine))
    return _forward(name, student, teacher, target, parameters, reduction, engine, False)[0]


class _Direct(torch.autograd.Function):
    """The operator's work in the caller's autograd graph."""

    @staticmethod
    def forward(ctx, student, rest):
        teacher, target, name, parameters, reduction, engine = rest  # one argument costs autograd less than six
        loss, grad = _forward(name, student, teacher, target, parameters, reduction, engine, True)
        _save(ctx, name, student, teacher, target, grad, parameters, reduction, engine)
        return loss

    @staticmethod
    def backward(ctx, grad_loss):
        return _backward(ctx, grad_loss, own=True), None


def _forward(
    name: str, student: Tensor, teacher: Tensor | None, target: Tensor | None, parameters: dict, reduction: str,
    engine: str, need_grad: bool,
) -> tuple[Tensor, Tensor | None]:
    scale = 1 / max(1, student.shape[0]) if _averaged_here(student, reduction) else 1.0
    if engine == "cpu" and covers(name, student):
        return compute(name, student, teacher, target, parameters, reduction, scale, need_grad)
    from kdzoo.kernels.dispatch import implementation

    rows, grad = implementation(name, engine)(
        student, teacher, target, **parameters, reduction_scale=scale, need_grad=need_grad
    )
    return _reduced(rows, reduction), grad


def _save(ctx, name, student, teacher, target, grad, parameters, reduction, engine) -> None:
    order = parameters.get("order")
    held = [student, teacher, target, grad, order]
    # Autograd refuses to save what was made in inference mode, as a teacher's logits are. Nothing can write to it any
    # more, and it has no gradient: kept aside it is as safe.
    ctx.aside = {i: held[i] for i in (1, 2, 4) if held[i] is not None and held[i].is_inference()}
    ctx.save_for_backward(*(None if i in ctx.aside else x for i, x in enumerate(held)))
    kept = parameters if order is None else {**parameters, "order": None}
    ctx.call = name, kept, reduction, engine


def _kept_graph() -> bool:
    """Whether the backward that runs may be followed by another one of the same graph; True where torch can't tell."""
    ask = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return ask is None or ask()


def _backward(ctx, grad_loss: Tensor, own: bool = False) -> Tensor:
    student, teacher, target, grad, order = (ctx.aside.get(i, x) for i, x in enumerate(ctx.saved_tensors))
    name, parameters, reduction, engine = ctx.call
    if torch.is_grad_enabled():
        parameters = parameters if order is None else {**parameters, "order": order}
        return _again(name, student, teacher, target, parameters, reduction, grad_loss)
    return _scaled(student, grad, grad_loss, reduction, engine, own)


def _names(parameters: str) -> list[str]:
    return [entry.split()[-1] for entry in parameters.split(",") if entry]


def _define(name: str, parameters: str) -> Callable:
    names = _names(parameters)
    own = f"{parameters}, " if parameters else ""
    schema = f"(Tensor student, Tensor? teacher, Tensor? target, {own}str reduction, str engine, bool need_grad)"
    _library.define(f"{name}{schema} -> (Tensor, Tensor)")

    def compute(student, teacher, target, *rest):
        *values, reduction, engine, need_grad = rest
        parameters = dict(zip(names, values, strict=True))
        loss, grad = _forward(name, student, teacher, target, parameters, reduction, engine, need_grad)
        return loss, student.new_empty(0) if grad is None else grad

    def fake(student, teacher, target, *rest):
        *_, reduction, _, need_grad = rest
        dtype = torch.float64 if student.dtype == torch.float64 else torch.float32
        loss = student.new_empty(student.shape[:1] if reduction == "none" else (), dtype=dtype)
        return loss, student.new_empty(student.shape if need_grad else (0,))

    def setup(ctx, inputs, output):
        student, teacher, target, *values, reduction, engine, need_grad = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[1])
        ctx.need_grad = need_grad
        _save(ctx, name, student, teacher, target, output[1], dict(zip(names, values, strict=True)), reduction, engine)

    def backward(ctx, grad_loss, _):
        if grad_loss is not None and not ctx.need_grad:
            raise RuntimeError(f"kdzoo::{name} was called with need_grad=False, so it has no gradient; give True")
        slope = None if grad_loss is None else _backward(ctx, grad_loss)
        return slope, *(None,) * (len(names) + 5)

    def each(info, in_dims, *arguments):
        """Under torch.vmap: one call for each entry of the mapped dimension."""
        calls = [
            operator(*[x if dim is None else x.select(dim, i) for x, dim in zip(arguments, in_dims, strict=True)])
            for i in range(info.batch_size)
        ]
        return tuple(torch.stack(parts) for parts in zip(*calls, strict=True)), (0, 0)

    for key in ("CPU", "CUDA"):
        _library.impl(name, compute, key)
    torch.library.register_fake(f"kdzoo::{name}", fake, lib=_library)
    torch.library.register_autograd(f"kdzoo::{name}", backward, setup_context=setup, lib=_library)
    torch.library.register_vmap(f"kdzoo::{name}", each, lib=_library)
    operator = getattr(torch.ops.kdzoo, name).default
    return operator


def _averaged_here(student: Tensor, reduction: str) -> bool:
    """float16 holds the gradient of the sum: over B it could underflow before a loss scale lifts it."""
    return reduction == "mean" and student.dtype != torch.float16


def _reduced(rows: Tensor, reduction: str) -> Tensor:
    return rows if reduction == "none" else rows.mean() if reduction == "mean" else rows.sum()


def _scaled(student: Tensor, grad: Tensor, grad_loss: Tensor, reduction: str, engine: str, own: bool) -> Tensor:
    """The saved gradient times what comes in, in float32 where it is of half precision.

    The saved one stays, but for one that nobody else was handed (``own``), in the last backward of its graph: where
    the factor is 1, as for a loss that is not weighted, its memory is not touched, and the gradient written once.
    """
    if reduction == "mean" and not _averaged_here(student, reduction):
        grad_loss = grad_loss / student.shape[0]
    if engine == "triton" and _readable(grad_loss):
        from kdzoo.kernels.dispatch import scale_rows

        return scale_rows(grad, grad_loss, in_place=own and not _kept_graph())
    if own and engine == "cpu" and grad_loss.ndim == 0 and grad.is_cpu and _readable(grad_loss) and not _kept_graph():
        factor = grad_loss.item()
        return grad if factor == 1 else grad.mul_(factor)
    if grad.dtype in HALF:
        return (grad * grad_loss.float().reshape(-1, 1)).to(grad.dtype)
    return grad * (grad_loss if grad_loss.ndim == 0 else grad_loss.unsqueeze(1))


def _readable(x: Tensor) -> bool:
    return not torch.compiler.is_compiling() and not _batched(x)


def _batched(x: Tensor) -> bool:
    """Whether torch.vmap or ``is_grads_batched`` hands in several at once, which a kernel can't read."""
    return torch._C._functorch.is_batchedtensor(x) or torch._C._functorch.is_legacy_batchedtensor(x)


def _again(
    name: str, student: Tensor, teacher: Tensor | None, target: Tensor | None, parameters: dict, reduction: str,
    grad_loss: Tensor,
) -> Tensor:
    """The gradient with a graph of its own, by the reference."""
    if name not in REFERENCES:
        raise RuntimeError(f"second derivatives of {name} need its reference; import kdzoo.losses.functional")
    # A node above the student: autograd stops at it now, and goes through it to the student in the next backward.
    leaf = student.view_as(student)
    ours, theirs = (x.float() if x is not None and x.dtype in HALF else x for x in (leaf, teacher))
    loss = _reduced(REFERENCES[name](ours, theirs, target, **parameters), reduction)
    return torch.autograd.grad(loss, leaf, grad_loss, create_graph=True)[0]


NAMES = {name: _names(parameters) for name, parameters in PARAMETERS.items()}
OPERATORS = {name: _define(name, parameters) for name, parameters in PARAMETERS.items()}
