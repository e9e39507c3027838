"""Compile every kernel ahead of time for a GPU that is not there, and count registers, spills and shared memory.

    python -m kdzoo.kernels.aot            # the table of kernels/README.md; about a minute

The wrappers run on CPU tensors with the launch itself replaced by a compilation with the same arguments.
"""

import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kdzoo.kernels import launch

SM_90 = GPUTarget("cuda", 90, 32)
POINTERS = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.int16: "*i16",
    torch.uint8: "*u8",
}


@dataclass(frozen=True)
class Resources:
    """What one compiled kernel takes: registers a thread, spilled bytes a thread, shared memory in bytes."""

    kernel: str
    block: int
    one: bool
    warps: int
    registers: int
    spills: int
    shared: int
    widest_load: int  # bits of one load instruction


def resources(call: Callable[[], object]) -> list[Resources]:
    """Compile, not run, the kernels that ``call`` would launch."""
    found = []

    def compile_only(kernel, rows, args, constants, warps, device):
        found.append(_compile(kernel, args, constants, warps))

    with mock.patch.object(launch, "run", compile_only):
        call()
    return found


def _compile(kernel, args: list, constants: dict, warps: int) -> Resources:
    signature, constexprs, attributes = {}, dict(constants), {}
    for position, (name, arg) in enumerate(zip(kernel.arg_names, args, strict=False)):
        if isinstance(arg, torch.Tensor):
            signature[name], aligned = POINTERS[arg.dtype], True
        elif isinstance(arg, float):
            signature[name], aligned = "fp32", False
        elif arg == 1:  # as the launcher does
            signature[name], aligned = "constexpr", False
            constexprs[name] = 1
        else:
            signature[name], aligned = "i32" if arg < 2**31 else "i64", arg % 16 == 0
        if aligned:
            attributes[(position,)] = [["tt.divisibility", 16]]
    signature |= {name: "constexpr" for name in constants}
    source = ASTSource(kernel, signature, constexprs, attributes)
    binary = triton.compile(source, target=SM_90, options={"num_warps": warps})
    registers, spills = _ptxas(binary.asm["ptx"])
    return Resources(
        kernel.__name__,
        constants.get("BLOCK", 0),
        constants.get("ONE", True),
        warps,
        registers,
        spills,
        binary.metadata.shared,
        _widest_load(binary.asm["ptx"]),
    )


def _ptxas(ptx: str) -> tuple[int, int]:
    """Registers and spilled bytes (stores and loads) as the assembler reports them."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        command = [triton.knobs.nvidia.ptxas.path, "-v", "--gpu-name=sm_90a", str(source), "-o", f"{folder}/out"]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stderr.replace(",", "").split()
    registers = int(report[report.index("registers") - 1])
    spills = sum(int(report[i - 3]) for i, word in enumerate(report) if word in ("stores", "loads"))
    return registers, spills


def _widest_load(ptx: str) -> int:
    words = [line.split()[1 if line.strip()[0] == "@" else 0] for line in ptx.splitlines() if "ld.global" in line]
    return max((_bits(word) for word in words), default=0)


def _bits(instruction: str) -> int:
    parts = instruction.split(".")
    vector = next((int(part[1:]) for part in parts if part in ("v2", "v4", "v8")), 1)
    return vector * int(parts[-1][1:])
