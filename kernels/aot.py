"""Compile every kernel ahead of time for a GPU that is not there, and count registers, spills and shared memory.

    python -m kdzoo.kernels.aot                      # the table of kernels/README.md: minutes
    python -m kdzoo.kernels.aot kd --classes 1000

The wrappers run on CPU tensors with the launch itself replaced by a compilation with the same arguments.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kdzoo.kernels import launch

SM_90 = GPUTarget("cuda", 90, 32)
# Triton's own, where every version of it keeps it; its API for the path has changed.
PTXAS = os.environ.get("TRITON_PTXAS_PATH") or str(Path(triton.__file__).parent / "backends/nvidia/bin/ptxas")
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
    signature, constexprs, hints = {}, dict(constants), []
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
            hints.append(position)
    signature |= {name: "constexpr" for name in constants}
    source = _source(kernel, signature, constexprs, hints)
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


def _source(kernel, signature: dict, constexprs: dict, aligned: list[int]) -> ASTSource:
    """What to compile; ``aligned`` are the positions of arguments that 16 divides."""
    try:  # before Triton 3.3: a descriptor, and no constants in the signature
        from triton.backends.compiler import AttrsDescriptor
    except ImportError:
        return ASTSource(kernel, signature, constexprs, {(i,): [["tt.divisibility", 16]] for i in aligned})
    variable = {name: kind for name, kind in signature.items() if kind != "constexpr"}
    return ASTSource(kernel, variable, constexprs, AttrsDescriptor.from_hints(dict.fromkeys(aligned, 16)))


def _ptxas(ptx: str) -> tuple[int, int]:
    """Registers and spilled bytes (stores and loads) as the assembler reports them."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        command = [PTXAS, "-v", "--gpu-name=sm_90a", str(source), "-o", f"{folder}/out"]
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


# Every kernel, in each form that its compile-time choices give it.
KERNELS: dict[str, list[dict]] = {
    "kd": [{}, {"standardize": True}],
    "ce_kd": [{}, {"standardize": True}],
    "dkd": [{}, {"standardize": True}],
    "nkd": [{}],
    "binary_kl": [{}],
    "binary_kl_norm": [{}],
    "pld": [{}],
    "pld_topk": [{"k": 100}],
    "dist_inter": [{}],
    "l2_svm": [{}],
    "margin_softmax": [{}, {"kind": "arcface", "margin": 0.5}],
    "cross_entropy": [{}, {"label_smoothing": 0.1}],
    "stablemax_cross_entropy": [{}],
    "scale_rows": [{}],
    "normal_rows": [{}],
}
CLASSES = (100, 1000, 4096, 8192, 21841)
TYPES = ("float32", "bfloat16", "float16")
ONE_INPUT = ("l2_svm", "margin_softmax", "cross_entropy", "stablemax_cross_entropy")
NO_TARGET = ("kd", "binary_kl", "binary_kl_norm", "dist_inter")


@dataclass(frozen=True)
class Compiled:
    """A kernel's resources with what it was compiled for."""

    loss: str
    options: dict
    classes: int
    dtype: str
    resources: Resources

    def line(self) -> str:
        """A row of the table."""
        form = ", ".join(f"{key} {value}" for key, value in self.options.items())
        used = self.resources
        walk = f"{used.block} x {used.warps}" + ("" if used.one else ", loop")
        counts = f"{used.registers} | {used.spills} | {used.shared} | {used.widest_load}"
        return f"| {self.loss}{f' ({form})' if form else ''} | {self.classes} | {self.dtype} | {walk} | {counts} |"


def compile_all(names: list[str], classes: list[int], dtypes: list[str]) -> Iterator[Compiled]:
    """Compile the kernels ``names`` for each size and type."""
    for name in names:
        for options in KERNELS[name]:
            for size in classes:
                for dtype in dtypes:
                    for used in resources(lambda: _call(name, size, getattr(torch, dtype), options)):  # noqa: B023
                        yield Compiled(name, options, size, dtype, used)


def _call(name: str, classes: int, dtype: torch.dtype, options: dict) -> None:
    from kdzoo.kernels.triton import TRITON, normal_rows, scale_rows

    logits, target = torch.zeros(1, classes, dtype=dtype), torch.zeros(1, dtype=torch.int64)
    if name == "scale_rows":
        scale_rows(logits, torch.ones(()))
        return
    if name == "normal_rows":  # rows of float32, of that many numbers
        normal_rows(0, target, target, classes)
        return
    teacher = None if name in ONE_INPUT else logits
    TRITON[name](logits, teacher, None if name in NO_TARGET else target, **options)


def main(argv: list[str] | None = None) -> int:
    """Print the table; the exit code is 1 where a kernel spills registers."""
    parser = argparse.ArgumentParser(prog="python -m kdzoo.kernels.aot", description="Compile the kernels for sm_90.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which (default: all)")
    parser.add_argument("--classes", nargs="+", type=int, default=CLASSES)
    parser.add_argument(
        "--dtypes", nargs="+", choices=["float32", "bfloat16", "float16"], default=["float32", "bfloat16"]
    )
    args = parser.parse_args(argv)
    for name in args.names:
        if name not in KERNELS:
            parser.error(f"no kernel is named {name!r}; there are {', '.join(KERNELS)}")
    print("| Kernel | C | type | block x warps | registers | spilled bytes | shared bytes | widest load, bits |")
    print("|---|---|---|---|---|---|---|---|")
    spilled = 0
    for compiled in compile_all(args.names or list(KERNELS), args.classes, args.dtypes):
        print(compiled.line(), flush=True)
        spilled += compiled.resources.spills
    return 1 if spilled else 0


if __name__ == "__main__":
    sys.exit(main())
