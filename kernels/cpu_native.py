"""The losses that C computes on the CPU: the reduced loss and its gradient in one call, from rows of float32."""

import ctypes
from functools import cache

import torch
from torch import Tensor

from kdzoo.kernels.native import check, library

# The parameters of each loss in the order of its C function, kdzoo_NAME.
NATIVE = {
    "kd": ("temperature",),
    "ce_kd": ("temperature", "kd_weight", "ce_weight"),
    "dkd": ("alpha", "beta", "temperature"),
    "nkd": ("gamma", "temperature"),
    "pld": ("temperature", "ce_weight"),
}
SMALLEST_THREADED = 1 << 13  # logits from which on a second thread pays


class _Batch(ctypes.Structure):
    """``Batch`` of native_src/rows.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("student", "teacher", "target", "order", "loss", "grad", "reduced")),
        *((name, ctypes.c_int64) for name in ("rows", "classes", "student_stride", "teacher_stride")),
        *((name, ctypes.c_double) for name in ("scale", "share")),
        ("parameters", ctypes.c_double * 4),
        *((name, ctypes.c_int32) for name in ("standardize", "threads")),
    ]


def covers(name: str, student: Tensor) -> bool:
    """Whether C computes this loss of these logits [B, C]: float32 in memory, no subclass that only stands for it."""
    return (
        name in NATIVE
        and student.dtype == torch.float32
        and student.is_cpu
        and type(student) in (Tensor, torch.nn.Parameter)
        and student.shape[1] > 1
        and not torch.jit.is_tracing()
        and _available()
    )


@torch.compiler.assume_constant_result
def _available() -> bool:
    return library() is not None


def compute(
    name: str, student: Tensor, teacher: Tensor, target: Tensor | None, parameters: dict, reduction: str,
    scale: float, need_grad: bool,
) -> tuple[Tensor, Tensor | None]:
    """The loss, [B] for ``reduction="none"``, and ``scale`` times the gradient of its rows, [B, C].

    Args:
        name: of NATIVE; :func:`covers` has said yes.
        student, teacher: [B, C], the student's float32.
        target: class indices [B] int64, or ``None`` for KD.
        parameters: the operator's.

    Raises:
        IndexError: a label that is no class, an order that is no permutation.
    """
    student, stride = _rows(student)
    teacher, teacher_stride = _rows(teacher if teacher.dtype == torch.float32 else teacher.float())
    order = parameters.get("order")
    if order is not None:
        order = order.to(torch.int32).contiguous()
    target = None if target is None else target.contiguous()
    size, classes = student.shape
    one = reduction != "none"
    loss = student.new_empty(() if one else size)
    grad = student.new_empty(size, classes) if need_grad else None
    batch = _Batch(
        student.data_ptr(), teacher.data_ptr(), _address(target), _address(order), None if one else loss.data_ptr(),
        _address(grad), loss.data_ptr() if one else None, size, classes, stride, teacher_stride, scale,
        1.0 if reduction == "sum" else 1 / size if size else float("nan"),
        tuple([parameters[key] for key in NATIVE[name]]), parameters.get("standardize", False),
        torch.get_num_threads() if size * classes >= SMALLEST_THREADED else 1,
    )  # fmt: skip
    check(_function(name)(ctypes.byref(batch)))
    return loss, grad


def _rows(logits: Tensor) -> tuple[Tensor, int]:
    """The logits with neighbouring classes side by side in memory, and how far apart their rows are."""
    rows, classes = logits.stride()
    return (logits, rows) if classes == 1 else (logits.contiguous(), logits.shape[1])


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@cache
def _function(name: str):
    return getattr(library(), f"kdzoo_{name}")
