"""Which code computes a loss: the reference, the closed form on the CPU, or a Triton kernel.

``backend="auto"`` takes

- on the CPU the C code of ``kernels/cpu_native.py`` where it has the loss and a compiler is there, else the closed
  forms of ``kernels/cpu.py`` from SMALLEST_ON_CPU logits (B times C) on: where they measured faster than eager
  (``tools/benchmark.py losses --device cpu``);
- on CUDA the Triton kernels from SMALLEST_ON_CUDA logits on. That figure is from counting launches and bytes
  (``kernels/README.md``), not measured;
- the reference for all else: a learnt temperature, soft labels, ``torch.func`` transforms, no Triton, other devices.

``"torch"`` is always the reference, ``"triton"`` always the kernel, an error where there is none. The environment's
KDZOO_BACKEND goes before the argument.
"""

import importlib
import os
import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from kdzoo.kernels import ops
from kdzoo.kernels.cpu import CPU
from kdzoo.kernels.cpu_native import covers

BACKENDS = ("auto", "torch", "triton")
# Plain KD is 21 calls in eager PyTorch: its closed form, 24 calls, gains nothing on less. Not here, since not faster:
# cross_entropy; dist_inter, l2_svm, margin_softmax.
SMALLEST_ON_CPU = {
    "kd": 100_000, "ce_kd": 100_000, "dkd": 0, "nkd": 0, "pld": 0, "pld_topk": 0, "binary_kl": 0, "binary_kl_norm": 0,
    "stablemax_cross_entropy": 0,
}
SMALLEST_ON_CUDA = 1 << 16
_failed: set[str] = set()


def fused(
    name: str, backend: str, student: Tensor, teacher: Tensor | None, target: Tensor | None, reduction: str,
    **parameters: float | bool | str | Tensor | None,
) -> Tensor | None:
    """The loss by its operator, or ``None`` where the reference is to compute it.

    Args:
        name: of ``ops.PARAMETERS``.
        backend: ``"auto"``, ``"torch"`` or ``"triton"``.
        student, teacher: [B, C], checked, in their own types.
        target: class indices [B], checked; with soft labels [B, C] there is no fused form.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``; others are left to the reference's error.
        parameters: the operator's own.

    Raises:
        ValueError: an unknown backend, or ``"triton"`` where no kernel can run.
    """
    engine = _engine(name, _chosen(backend), student, parameters)
    if engine is None or reduction not in ("mean", "sum", "none"):
        return None
    if not _covered(student, teacher, target, parameters):
        return None
    teacher = teacher.detach() if teacher is not None and teacher.requires_grad else teacher
    if engine == "cpu" and student.dtype in ops.HALF:  # the gradient stays in float32 up to the last cast
        student = student.float()
    return ops.call(name, student, teacher, target, reduction, engine, **parameters)


def has_fused(name: str, student: Tensor, backend: str = "auto") -> bool:
    """Whether :func:`fused` may take these logits: for callers whose inputs to it cost something to make."""
    return _engine(name, _chosen(backend), student, {}) is not None


def engine_by_chunks(backend: str, features: Tensor) -> str | None:
    """Of :func:`implementation`, for logits made of ``features`` a chunk at a time; ``None`` for the reference."""
    chosen = _chosen(backend)
    if chosen == "auto":
        kernel = features.device.type == "cuda" and features.dtype != torch.float64 and _runs_triton("cuda")
        narrow = kernel and features.dtype == torch.bfloat16
        return "triton" if kernel and (not narrow or _has_bfloat16(features.device.index)) else "cpu"
    return _engine("kd", chosen, features, {})


def _chosen(backend: str) -> str:
    forced = os.environ.get("KDZOO_BACKEND")
    if forced and forced not in BACKENDS:
        raise ValueError(f"the environment's KDZOO_BACKEND must be 'auto', 'torch' or 'triton', got {forced!r}")
    if backend not in BACKENDS:
        raise ValueError(f"backend must be 'auto', 'torch' or 'triton', got {backend!r}")
    return forced or backend


def _engine(name: str, backend: str, student: Tensor, parameters: dict) -> str | None:
    if backend == "torch":
        return None
    if backend == "auto" and student.is_cpu:
        least = 0 if parameters.get("standardize") else SMALLEST_ON_CPU.get(name)
        enough = least is not None and (student.numel() >= least or covers(name, student))
        return "cpu" if enough else None
    device = student.device.type
    if backend == "triton":
        if not _runs_triton(device):
            raise ValueError(
                f"backend 'triton' needs Triton and logits on a CUDA device (or TRITON_INTERPRET=1), got {device} "
                "without them; use 'auto' or 'torch'"
            )
        if student.dtype == torch.float64:
            raise ValueError("backend 'triton' takes float32, float16 and bfloat16 logits, got float64; use 'torch'")
        return "triton"
    large = student.numel() >= SMALLEST_ON_CUDA and student.dtype != torch.float64
    return "triton" if device == "cuda" and large and _runs_triton(device) else None


def _covered(student: Tensor, teacher: Tensor | None, target: Tensor | None, parameters: dict) -> bool:
    if teacher is not None and (teacher.dtype == torch.float64) != (student.dtype == torch.float64):
        return False
    # C, or a kernel on another GPU, would read a foreign address as its own, and die of it; the reference's error says
    # what is wrong.
    device = student.device
    if teacher is not None and teacher.device != device or target is not None and target.device != device:
        return False
    for name, value in parameters.items():
        if isinstance(value, Tensor) and (name != "order" or value.device != device):
            return False
    if target is not None and target.ndim != 1:
        return False
    narrow = student.dtype == torch.bfloat16 or teacher is not None and teacher.dtype == torch.bfloat16
    if narrow and student.is_cuda and not _has_bfloat16(device.index):
        return False
    # Neither vmap nor forward-mode derivatives are defined for the operators.
    return torch.compiler.is_compiling() or not (
        torch._C._functorch.maybe_current_level() is not None or torch.autograd.forward_ad._current_level >= 0
    )


def implementation(name: str, engine: str) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """What computes rows and gradient; a kernel that does not compile is replaced, with one warning."""
    if engine != "triton" or name in _failed:
        return CPU[name]

    def guarded(*tensors: Tensor | None, **options) -> tuple[Tensor, Tensor | None]:
        try:
            return _triton().TRITON[name](*tensors, **options)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            replaced = CPU[name](*tensors, **options)  # fails itself where the inputs are at fault, not the kernel
            _give_up(name, error)
            return replaced

    return guarded


def scale_rows(grad: Tensor, factor: Tensor, in_place: bool = False) -> Tensor:
    """[B, C] times a scalar or [B], in one kernel; ``in_place`` where nobody needs ``grad`` again."""
    if "scale_rows" not in _failed:
        try:
            return _triton().scale_rows(grad, factor, in_place)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            _give_up("scale_rows", error)
    return (grad * factor.reshape(-1, 1)).to(grad.dtype)


def normal_rows(seed: int, streams: Tensor, positions: Tensor, size: int) -> Tensor | None:
    """Keyed normal rows [N, size] by their kernel; ``None`` where torch operations are to make them.

    Args:
        seed, streams, positions, size: of :func:`kdzoo.kernels.philox.normal_rows`.
    """
    if "normal_rows" in _failed or _chosen("auto") == "torch" or not _runs_triton(streams.device.type):
        return None
    try:
        return _triton().normal_rows(seed, streams, positions, size)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        _give_up("normal_rows", error)
    return None


def _give_up(name: str, error: Exception) -> None:
    _failed.add(name)
    told = str(error).strip().splitlines() or [""]
    warnings.warn(
        f"the Triton kernel {name} failed ({type(error).__name__}: {told[0]}), plain PyTorch replaces it; "
        "KDZOO_BACKEND=torch avoids the attempt",
        stacklevel=3,
    )


@cache
def _triton():
    """The module with the kernels, ``None`` where Triton is not installed."""
    try:
        importlib.import_module("triton")
    except ImportError:
        return None
    return importlib.import_module("kdzoo.kernels.triton")


@torch.compiler.assume_constant_result
def _runs_triton(device: str) -> bool:
    if device not in ("cuda", "cpu") or _triton() is None:
        return False
    return device == "cuda" or _interpreted()


@torch.compiler.assume_constant_result
def _has_bfloat16(index: int) -> bool:
    """Triton 3.2, that of torch 2.6, compiles no bfloat16 before compute capability 8.0 (a T4 has 7.5), and a kernel
    that failed is not tried again, whatever the type."""
    version = importlib.import_module("triton").__version__
    old = tuple(map(int, version.split(".")[:2])) < (3, 3)
    return not old or torch.version.hip is not None or torch.cuda.get_device_capability(index) >= (8, 0)


def _interpreted() -> bool:
    """Whether the kernels are run by Triton's interpreter, which is settled when they are imported."""
    return type(importlib.import_module("kdzoo.kernels.kd").kd_kernel).__name__ == "InterpretedFunction"
