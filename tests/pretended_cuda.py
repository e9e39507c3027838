"""A CUDA device pretended on the CPU: tensors that say they are on ``cuda:0``, refuse CPU ones, and tell what waits.

No kernel of CUDA runs. What it shows is where tensors lie, that no operation mixes them with the host's, and which
lines would make the host wait for the device: what can be seen of a GPU's work without a GPU.
"""

import contextlib
import os
import traceback
from collections import Counter
from pathlib import Path
from unittest import mock

import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._foreach_utils import _group_tensors_by_device_and_dtype as group_tensors
from torch.utils._pytree import tree_flatten, tree_map

CUDA, ROOT = torch.device("cuda", 0), Path(__file__).parents[1]
aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.equal.default,
    aten.bincount.default, aten._unique2.default, aten.unique_dim.default, aten.unique_consecutive.default,
}  # fmt: skip
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
INSIDE = {"one_hot", "quantile", "tril_indices"}  # made of parts that look for self's device in C++, which is the CPU's


class OnCuda(torch.Tensor):
    """Holds a CPU tensor and says that it is on the GPU."""

    value: Tensor

    @staticmethod
    def __new__(cls, value: Tensor):
        return torch.Tensor._make_wrapper_subclass(
            cls, value.size(), strides=value.stride(), storage_offset=value.storage_offset(),
            dtype=value.dtype, layout=value.layout, device=value.device, requires_grad=False,
        )  # fmt: skip

    def __init__(self, value: Tensor):
        self.value = value

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def numpy(self, **_):
        raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")

    __array__ = numpy

    def tolist(self):
        _waits("tolist")
        return self.value.tolist()

    def __deepcopy__(self, memo):
        copy = OnCuda(self.value.clone())
        memo[id(self)] = nn.Parameter(copy, self.requires_grad) if getattr(self, "_is_param", False) else copy
        return memo[id(self)]

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, dict(kwargs or {}))


_waited: Counter[str] = Counter()


def _waits(what: str) -> None:
    frames = [f for f in traceback.extract_stack() if Path(f.filename).is_relative_to(ROOT) and f.filename != __file__]
    own = [f for f in frames if not Path(f.filename).is_relative_to(ROOT / "tests")]
    if own:
        _waited[f"{what} in {Path(own[-1].filename).relative_to(ROOT)}: {own[-1].line}"] += 1


def _wrap(x):
    return OnCuda(x) if isinstance(x, Tensor) and not isinstance(x, OnCuda) else x


def _unwrap(x):
    return x.value if isinstance(x, OnCuda) else x


def _is_cuda(device) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _run(func, args, kwargs):
    """One operation on the values, after a look at where they lie."""
    if torch._C._current_autograd_node() is not None:  # C++ makes zeros for gradients, on what it takes for the device
        args = tree_map(lambda x: _wrap(x) if isinstance(x, Tensor) and x.ndim else x, args)
    if func in WAITING:
        _waits(str(func))
    fill = func in INDEXING and len(args) > 2 and args[2].numel() == 1  # PyTorch makes it a masked_fill
    if func in INDEXING and not fill and any(i is not None and i.dtype == torch.bool for i in args[1]):
        _waits("a boolean index")
    if func is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None:
        _waits("repeat_interleave")
    if func is aten.copy_.default:
        return _copy(*args)
    _refuse_mixture(func, args, kwargs)
    on_cuda = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, OnCuda)]
    if _is_cuda(kwargs.get("device")):
        kwargs["device"] = torch.device("cpu")
    result = func(*tree_map(_unwrap, args), **tree_map(_unwrap, kwargs))
    same = {id(x.value): x for x in on_cuda}  # what an operation in place gives back
    return tree_map(lambda x: same.get(id(x)) if id(x) in same else _wrap(x), result)


def _copy(to: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    if isinstance(to, OnCuda) != isinstance(source, OnCuda) and not non_blocking and source.ndim:
        _waits("a copy between devices")
    _unwrap(to).copy_(_unwrap(source))
    return to


def _refuse_mixture(func, args, kwargs) -> None:
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor) and x.ndim]
    host = [x for x in tensors if not isinstance(x, OnCuda)]
    if func in INDEXING and isinstance(args[0], OnCuda):  # an index on the host is allowed, and copied
        host = [x for x in host if all(x is not i for i in args[1])]
    if host:
        shapes = [list(x.shape) for x in host]
        raise RuntimeError(f"Expected all tensors to be on the same device, but {func} found {shapes} on cpu")


class _Move(torch.autograd.Function):
    """To the other device and back, with the gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.value.clone() if isinstance(x, OnCuda) else OnCuda(x.detach().clone())

    @staticmethod
    def backward(ctx, gradient):
        return gradient.value.clone() if isinstance(gradient, OnCuda) else OnCuda(gradient.clone())


class _Places(TorchFunctionMode):
    """What Python says of devices, which the CPU's C++ would not understand."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if func is torch.Tensor.cuda:
            return self.move(args[0], True, kwargs.get("non_blocking", False))
        if func is torch.Tensor.cpu:
            return self.move(args[0], False)
        if func is torch.Tensor.to:
            return self.to(*args, **kwargs)
        on_cuda = [x for x in args if isinstance(x, OnCuda)]
        if on_cuda and (name in INSIDE or name == "new_tensor"):
            if name == "new_tensor" or (name == "one_hot" and len(args) + len(kwargs) == 1):
                _waits(name)
            return tree_map(_wrap, func(*tree_map(_unwrap, args), **tree_map(_unwrap, kwargs)))
        if not isinstance(kwargs.get("device"), int) and _is_cuda(kwargs.get("device")) and name != "_parse_to":
            wanted = kwargs.pop("requires_grad", False)
            result = func(*args, **kwargs | dict(device="cpu"))
            if name in ("tensor", "as_tensor") and result.numel() > 1:
                _waits(f"torch.{name}")
            return _wrap(result).requires_grad_() if wanted else tree_map(_wrap, result)
        return func(*args, **kwargs)

    def to(self, x: Tensor, *args, non_blocking: bool = False, copy: bool = False, **kwargs) -> Tensor:
        device = kwargs.pop("device", None)
        kept = []
        for argument in args:
            if isinstance(argument, Tensor):
                device, argument = argument.device, argument.dtype
            if isinstance(argument, bool):  # non_blocking comes before copy
                non_blocking = non_blocking or argument
            elif isinstance(argument, (str, int, torch.device)):
                device = CUDA if isinstance(argument, int) else argument
            elif argument is not None:
                kept.append(argument)
        if kept or any(value is not None for value in kwargs.values()):
            x = torch.Tensor.to(x, *kept, **kwargs)
        return x if device is None else self.move(x, _is_cuda(device), non_blocking)

    def move(self, x: Tensor, to_cuda: bool, non_blocking: bool = False) -> Tensor:
        if isinstance(x, OnCuda) == to_cuda:
            return x
        if not non_blocking and (x.ndim or not to_cuda):
            _waits("a copy between devices")
        return _Move.apply(x)


def _apply(module: nn.Module, function, recurse: bool = True) -> nn.Module:
    """``nn.Module._apply``, which else puts the new values into the old tensors, whose type stays."""
    for child in module.children():
        child._apply(function)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            with torch.no_grad():
                moved = function(parameter.detach())
            if moved is not parameter:
                module._parameters[name] = nn.Parameter(moved.detach(), parameter.requires_grad)
    for name, buffer in module._buffers.items():
        module._buffers[name] = None if buffer is None else function(buffer)
    return module


class _Event:
    def __init__(self, *_, **__): ...
    def record(self, *_): ...

    def synchronize(self):
        _waits("Event.synchronize")


class _Generator(torch.Generator):
    def __new__(cls, device="cpu"):
        return super().__new__(cls)


def _grouped(tensors, with_indices: bool = False):
    """What groups gradients before they are clipped reads the device in C++."""
    groups = group_tensors(tensors, with_indices).items()
    return {(CUDA if isinstance(t[0][0], OnCuda) else device, d): (t, i) for (device, d), (t, i) in groups}


def _inference_mode(mode: bool):
    return torch.no_grad() if mode else contextlib.nullcontext()


@contextlib.contextmanager
def pretended_cuda():
    """Within it ``torch.device("cuda")`` is a pretended GPU; gives the counts of lines that waited for it so far.

    Example:
        >>> with pretended_cuda() as waited:
        ...     torch.ones(3, device="cuda").sum().item()
    """
    instead = {
        "torch.cuda.is_available": lambda: True,
        "torch.cuda.device_count": lambda: 1,
        "torch.cuda.current_device": lambda: 0,
        "torch.cuda.set_device": lambda *_: None,
        "torch.cuda.synchronize": lambda *_: _waits("synchronize"),
        "torch.cuda.mem_get_info": lambda *_: (1 << 36, 1 << 36),
        "torch.cuda.get_device_name": lambda *_: "pretended",
        "torch.cuda.is_bf16_supported": lambda *_: True,
        "torch.cuda.manual_seed_all": lambda *_: None,
        "torch.cuda.Event": _Event,
        "torch.random.fork_rng": lambda *_, **__: contextlib.nullcontext(),
        "torch.Generator": _Generator,
        "torch._C._InferenceMode": _inference_mode,  # its tensors take no wrappers
        "torch.nn.Module._apply": _apply,
        "torch.nn.utils.clip_grad._group_tensors_by_device_and_dtype": _grouped,
        "torch.Tensor.pin_memory": lambda self, *_: self,
    }
    with contextlib.ExitStack() as stack:
        for name, replacement in instead.items():
            stack.enter_context(mock.patch(name, replacement))
        for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
            stack.enter_context(mock.patch.object(torch.optim.Optimizer, name, lambda self: None, create=True))
        stack.enter_context(mock.patch.dict(os.environ, {"ACCELERATE_TORCH_DEVICE": "cuda", "KDZOO_BACKEND": "torch"}))
        # accelerate keeps the device it first found, for as long as the process lives.
        AcceleratorState._reset_state(reset_partial_state=True)
        stack.callback(AcceleratorState._reset_state, reset_partial_state=True)
        stack.enter_context(_Places())
        _waited.clear()
        yield _waited
