"""Loss and gradient of one batch of logits: eager PyTorch, torch.compile, kdzoo's fused forms, Liger's nearest.

All compute the loss (mean over the batch) and its gradient to the student's logits, in turn in one process; the
median of several rounds counts, and the factor over eager is the median of the factor within a round. "of copy" is
what the least possible bytes (each input read once, the gradient written once) take of the time, as a share of the
bandwidth that a copy on the same device reaches.
"""

import argparse
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from kdzoo.errors import UserError

if TYPE_CHECKING:  # --help is not to wait for torch
    import torch

    from kdzoo.tools.benchmarks.machine import Machine

LOSSES = (
    "kd", "lskd", "ce_kd", "dkd", "nkd", "pld", "binary_kl", "binary_kl_norm", "cross_entropy", "smoothed_ce",
    "stablemax",
)
SIZES = {
    "cpu": ((256, 100), (256, 1000)),
    "cuda": ((256, 100), (1024, 1000), (4096, 1000), (1024, 21841), (8192, 21841)),
}
ROUND_SECONDS = 0.02  # a variant is repeated this long in a round
# On 2 CPU cores these are to be twice as fast as eager; on a GPU see the figures below.
CPU_TARGET, CPU_PROMISED = 2.0, ("kd", "lskd", "dkd", "nkd", "pld")
GPU_TARGET, GPU_COPY, GPU_FROM = 5.0, 0.85, 4096 * 1000
COLUMNS = (
    "date", "benchmark", "loss", "batch_size", "classes", "dtype", "variant", "ms_p20", "ms_p50", "ms_p80",
    "times_eager", "of_copy", "launches", "peak_mb", "clock", "copy_gb_per_second", "device", "driver", "cpu", "cores",
    "threads", "load", "rounds", "kdzoo", "python", "torch", "triton", "liger_kernel", "git",
)


@dataclass
class Variant:
    """One way to compute a loss: ``call()`` returns the scalar, whose backward reaches the student's logits."""

    name: str
    call: Callable[[], "torch.Tensor"]


@dataclass
class Row:
    """What was measured of one variant at one size."""

    loss: str
    size: tuple[int, int]
    variant: str
    ms: tuple[float, float, float]  # quantiles 0.2, 0.5, 0.8
    times_eager: float
    of_copy: float
    launches: int | None
    peak_mb: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=LOSSES, help="default: all")
    parser.add_argument("--sizes", nargs="+", metavar="BxC", help="such as 256x100 (default: by the device)")
    parser.add_argument("--dtype", choices=("fp32", "bf16", "fp16"), default="fp32", help="of the logits")
    parser.add_argument("--rounds", type=int, default=21, help="counted rounds, after one that warms up (default: 21)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the best there is")
    parser.add_argument("--compile", action="store_true", help="torch.compile on the CPU, too (minutes of compiling)")
    parser.add_argument("--threads", type=int, help="of torch on the CPU (default: torch's own choice)")
    parser.add_argument(
        "--cpu-time", action="store_true",
        help="count the CPU seconds of one thread, not wall seconds: on a CPU where others compute",
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="append a row per loss, size and variant")


def run(arguments: argparse.Namespace) -> None:
    """Measure and print; raises UserError for a mistake of the user."""
    import torch

    from kdzoo.tools.benchmarks.machine import this_machine
    from kdzoo.tools.benchmarks.results import append_rows, check_columns

    if arguments.rounds < 1:
        raise UserError(f"--rounds is {arguments.rounds}; use 1 or more")
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device here; take --device cpu")
    sizes = [parse_size(text) for text in arguments.sizes] if arguments.sizes else SIZES[device.type]
    if arguments.csv is not None:
        check_columns(arguments.csv, COLUMNS)
    if arguments.cpu_time and (device.type == "cuda" or arguments.threads not in (None, 1)):
        raise UserError("--cpu-time counts one thread of the CPU; take it with --device cpu and --threads 1")
    threads = 1 if arguments.cpu_time else arguments.threads
    if threads is not None:
        if threads < 1:
            raise UserError(f"--threads is {threads}; use 1 or more")
        torch.set_num_threads(threads)
    machine = this_machine(device)
    print("\n".join(machine.lines()), flush=True)
    copy = copy_speed(device)
    print(f"copy on this device: {copy / 1e9:.1f} GB/s read and written; {arguments.dtype} logits\n")
    print(HEAD)
    rows = []
    for size in sizes:
        for loss in arguments.losses:
            try:
                found = measure(loss, size, arguments, device, copy)
            except torch.OutOfMemoryError:
                print(f"{loss}, {size[0]} x {size[1]}: out of memory; try smaller --sizes or --dtype bf16", flush=True)
                torch.cuda.empty_cache()
                continue
            print("\n".join(line(row) for row in found), flush=True)
            rows += found
            if arguments.csv is not None:  # at once: a run of many sizes may be stopped
                append_rows(arguments.csv, [csv_row(row, arguments, machine, device, copy) for row in found])
    print("\n".join(verdict(rows, device.type)))


def parse_size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or int(found[1]) < 1 or int(found[2]) < 2:
        raise UserError(f"--sizes has {text!r}; expected BxC such as 256x100, with 2 classes or more")
    return int(found[1]), int(found[2])


def measure(
    loss: str, size: tuple[int, int], arguments: argparse.Namespace, device: "torch.device", copy: float
) -> list[Row]:
    """All variants of one loss at one size."""
    import numpy as np
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[arguments.dtype]
    generator = torch.Generator().manual_seed(0)
    student, teacher = ((3 * torch.randn(size, generator=generator)).to(device, dtype) for _ in range(2))
    student.requires_grad_()
    target = torch.randint(size[1], size[:1], generator=generator).to(device)
    variants = list(variants_of(loss, student, teacher, target, arguments.compile or device.type == "cuda"))

    def step(variant: Variant) -> None:
        student.grad = None
        variant.call().backward()

    seconds = interleave(variants, step, arguments.rounds, device, arguments.cpu_time)
    eager = np.array(seconds["eager"])
    inputs = 1 if loss in ("cross_entropy", "smoothed_ce", "stablemax") else 2
    least = (inputs + 1) * student.numel() * student.element_size()
    rows = []
    for variant in variants:
        mine = np.array(seconds[variant.name])
        quantiles = tuple((1e3 * np.quantile(mine, [0.2, 0.5, 0.8])).tolist())
        peak = peak_memory(lambda variant=variant: step(variant), student, device)
        # A compiled function's calls are not dispatched one by one: on the CPU they can't be counted.
        hidden = device.type == "cpu" and variant.name == "compiled"
        launches = None if hidden else count_launches(lambda variant=variant: step(variant), device)
        of_copy = least / (quantiles[1] / 1e3) / copy
        rows.append(Row(loss, size, variant.name, quantiles, float(np.median(eager / mine)), of_copy, launches, peak))
    return rows


def variants_of(
    loss: str, student: "torch.Tensor", teacher: "torch.Tensor", target: "torch.Tensor", compiled: bool
) -> "list[Variant]":
    """Eager, compiled, fused, and Liger's where it has the loss."""
    import torch

    ours = "auto" if student.device.type == "cpu" else "triton"
    found = [
        Variant("eager", lambda: evaluate(loss, student, teacher, target, "torch")),
        Variant("fused", lambda: evaluate(loss, student, teacher, target, ours)),
    ]
    if compiled:
        torch.compiler.reset()
        function = torch.compile(evaluate, dynamic=False)
        found.append(Variant("compiled", lambda: function(loss, student, teacher, target, "torch")))
    liger = liger_call(loss, student, teacher, target) if student.device.type == "cuda" else None
    return found if liger is None else [*found, Variant("liger", liger)]


def evaluate(loss: str, s: "torch.Tensor", t: "torch.Tensor", y: "torch.Tensor", backend: str) -> "torch.Tensor":
    """The loss with its functional's defaults."""
    from kdzoo.losses import functional as KF

    if loss in ("kd", "binary_kl", "binary_kl_norm"):
        return getattr(KF, loss)(s, t, backend=backend)
    if loss == "lskd":
        return KF.kd(s, t, 2.0, standardize=True, backend=backend)
    if loss in ("ce_kd", "dkd", "nkd", "pld"):
        return getattr(KF, loss)(s, t, y, backend=backend)
    if loss == "stablemax":
        return KF.stablemax_cross_entropy(s, y, backend=backend)
    return KF.cross_entropy(s, y, 0.1 if loss == "smoothed_ce" else 0.0, backend=backend)


def liger_call(
    loss: str, s: "torch.Tensor", t: "torch.Tensor", y: "torch.Tensor"
) -> "Callable[[], torch.Tensor] | None":
    """The nearest loss of liger-kernel; its cross-entropy writes the gradient into its input, so that gets a copy."""
    try:
        from liger_kernel.transformers import LigerCrossEntropyLoss, LigerKLDIVLoss
    except ImportError:
        return None
    if loss in ("cross_entropy", "smoothed_ce"):
        function = LigerCrossEntropyLoss(label_smoothing=0.1 if loss == "smoothed_ce" else 0.0)
        return lambda: function(s.clone(), y)
    if loss == "kd":
        divergence = LigerKLDIVLoss(reduction="batchmean")
        return lambda: 16.0 * divergence((s / 4.0).log_softmax(dim=1), (t / 4.0).softmax(dim=1))
    return None


def interleave(
    variants: list[Variant], step: Callable[[Variant], None], rounds: int, device: "torch.device",
    cpu_time: bool = False,
) -> dict[str, list[float]]:
    """Seconds of one step of each variant in each round; each round begins with another variant."""
    import time

    from kdzoo.tools.benchmarks.timing import no_collection, waiter

    wait, clock = waiter(device), time.thread_time if cpu_time else time.perf_counter

    def timed(variant: Variant, repeats: int) -> float:
        wait()
        start = clock()
        for _ in range(repeats):
            step(variant)
        wait()
        return (clock() - start) / repeats

    seconds: dict[str, list[float]] = {variant.name: [] for variant in variants}
    with no_collection():
        repeats = {}
        for variant in variants:
            timed(variant, 2)  # compiles
            repeats[variant.name] = max(1, round(ROUND_SECONDS / timed(variant, 3)))
        for number in range(rounds):
            first = number % len(variants)
            for variant in [*variants[first:], *variants[:first]]:
                seconds[variant.name].append(timed(variant, repeats[variant.name]))
    return seconds


def copy_speed(device: "torch.device") -> float:
    """Bytes a second, read and written, of a copy far larger than any cache; the best of several."""
    import time

    import torch

    from kdzoo.tools.benchmarks.timing import waiter

    size = (1 << 28) if device.type == "cuda" else (1 << 24)
    source = torch.ones(size, device=device)
    target, wait, best = torch.empty_like(source), waiter(device), float("inf")
    for _ in range(8):
        wait()
        start = time.perf_counter()
        target.copy_(source)
        wait()
        best = min(best, time.perf_counter() - start)
    return 2 * source.numel() * source.element_size() / best


def count_launches(step: Callable[[], None], device: "torch.device") -> int:
    """Kernels on a GPU; on the CPU calls of operators that compute (views are not counted)."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    if device.type == "cuda":
        kinds = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=kinds) as profile:
            step()
            torch.cuda.synchronize(device)
        return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events())

    class Counter(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            view = any(out.alias_info is not None and not out.alias_info.is_write for out in function._schema.returns)
            self.calls += not view
            return function(*arguments, **keywords or {})

    with Counter() as counter:
        step()
    return counter.calls


def peak_memory(step: Callable[[], None], student: "torch.Tensor", device: "torch.device") -> float | None:
    """MB that a step allocates over what lies there before, the gradient it leaves among them; ``None`` on the CPU."""
    import torch

    if device.type != "cuda":
        return None
    step()
    student.grad = None  # else the step frees the last one, and its own would not count
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 1e6


HEAD = (
    f"{'loss':15}{'B x C':>13}  {'variant':9}{'ms p20':>9}{'p50':>9}{'p80':>9}{'x eager':>9}{'of copy':>9}"
    f"{'launches':>10}{'peak MB':>9}"
)


def line(row: Row) -> str:
    times = "".join(f"{ms:9.3f}" for ms in row.ms)
    launches = "-" if row.launches is None else str(row.launches)
    peak = "-" if row.peak_mb is None else f"{row.peak_mb:.1f}"
    size = f"{row.size[0]} x {row.size[1]}"
    shares = f"{row.times_eager:9.2f}{row.of_copy:9.1%}"
    return f"{row.loss:15}{size:>13}  {row.variant:9}{times}{shares}{launches:>10}{peak:>9}"


def verdict(rows: list[Row], device: str) -> list[str]:
    """Which of the promises are kept at the measured sizes."""
    fused = [row for row in rows if row.variant == "fused"]
    if device == "cpu":
        promised = [row for row in fused if row.loss in CPU_PROMISED and row.size in SIZES["cpu"]]
        missed = [row for row in promised if row.times_eager < CPU_TARGET]
        target = f"{CPU_TARGET:g} times eager on 2 CPU cores"
    else:
        promised = [row for row in fused if row.size[0] * row.size[1] >= GPU_FROM]
        compiled = {(row.loss, row.size): row.ms[1] for row in rows if row.variant == "compiled"}
        missed = [
            row for row in promised
            if row.times_eager < GPU_TARGET or row.of_copy < GPU_COPY
            or row.ms[1] > compiled.get((row.loss, row.size), float("inf"))
        ]
        target = f"{GPU_COPY:.0%} of copy, {GPU_TARGET:g} times eager and no slower than compiled"
    if not promised:
        return []
    told = ", ".join(f"{row.loss} {row.size[0]}x{row.size[1]} ({row.times_eager:.2f})" for row in missed)
    count = f"{len(promised) - len(missed)} of {len(promised)}"
    return ["", f"target: {target}", f"  reached by {count}; missed: {told or 'none'}"]


def csv_row(
    row: Row, arguments: argparse.Namespace, machine: "Machine", device: "torch.device", copy: float
) -> dict[str, object]:
    """The row for the CSV file, in the order of COLUMNS."""
    values = dict(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"), benchmark="losses", loss=row.loss,
        batch_size=row.size[0], classes=row.size[1], dtype=arguments.dtype, variant=row.variant,
        ms_p20=round(row.ms[0], 5), ms_p50=round(row.ms[1], 5), ms_p80=round(row.ms[2], 5),
        times_eager=round(row.times_eager, 4), of_copy=round(row.of_copy, 4),
        launches="" if row.launches is None else row.launches,
        peak_mb="" if row.peak_mb is None else round(row.peak_mb, 2), clock="cpu" if arguments.cpu_time else "wall",
        copy_gb_per_second=round(copy / 1e9, 2), device=machine.device, driver=driver(device), cpu=machine.cpu,
        cores=machine.cores, threads=machine.threads, load="" if machine.load is None else round(machine.load, 2),
        rounds=arguments.rounds, git=machine.git or "", triton=installed("triton"),
        liger_kernel=installed("liger_kernel"),
    )
    values |= {name: machine.versions.get(name, "") for name in ("kdzoo", "python", "torch")}
    return {column: values[column] for column in COLUMNS}


def installed(package: str) -> str:
    """Its version, or nothing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def driver(device: "torch.device") -> str:
    """Version of the GPU's driver; nothing on a CPU, or where the system does not tell."""
    if device.type != "cuda":
        return ""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.splitlines()[0].strip()
