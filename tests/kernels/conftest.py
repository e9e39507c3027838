"""Triton kernels in its interpreter, where there is no GPU; compiled, where there is one.

Whether a kernel is interpreted is settled when its module is imported, so the kernels are imported here, with the
environment set for that moment only. Triton itself may have been imported before (torch.compile does), its standard
library (tl.sum, tl.sort) compiled; that is wrapped for the interpreter, too.
"""

import contextlib
import os

import numpy as np
import pytest
import torch

INTERPRETED = not torch.cuda.is_available()


def _interpret() -> None:
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        with contextlib.suppress(ModuleNotFoundError):  # before Triton 3.4 there is none
            import triton.experimental.gluon  # noqa: F401  (a first launch imports it; it wants the library as it was)
        import triton.language as tl
        from triton.language import standard
        from triton.runtime.interpreter import InterpretedFunction
        from triton.runtime.jit import JITFunction

        for name, function in list(vars(standard).items()):
            if isinstance(function, JITFunction):
                interpreted = InterpretedFunction(function.fn)
                for module in (standard, tl):
                    if getattr(module, name, None) is function:
                        setattr(module, name, interpreted)
        _prepare_once(InterpretedFunction)
        import kdzoo.kernels.triton  # noqa: F401
    finally:
        del os.environ["TRITON_INTERPRET"]


def _prepare_once(interpreted: type) -> None:
    """Let a function called in a kernel prepare the language once for its module: doing it at each call, as the
    interpreter does, takes ten times as long as all the rest."""
    first_call, prepared = interpreted.__call__, set()

    def call(self, *args, **kwargs):
        module = self.fn.__module__
        if module not in prepared and not module.startswith("kdzoo"):
            prepared.add(module)
            return first_call(self, *args, **kwargs)
        return self.rewrite()(*args, **kwargs)

    interpreted.__call__ = call


if INTERPRETED:
    _interpret()


@pytest.fixture
def device() -> torch.device:
    return torch.device("cpu" if INTERPRETED else "cuda")


@pytest.fixture(autouse=True)
def _quiet():
    """Padding is -inf, and numpy warns of arithmetic with it."""
    with np.errstate(all="ignore"):
        yield


@pytest.fixture
def by_definition(monkeypatch):
    """The functional losses compute by their definition, not by a fused form."""
    monkeypatch.setenv("KDZOO_BACKEND", "torch")
