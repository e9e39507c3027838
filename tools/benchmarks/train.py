"""A distillation step, data included: kdzoo against a plain loop as the literature writes it.

Both train the same pair on the same images in one process, in turn; the median of several rounds
counts. Rates are images per second; the factor over the plain loop is the median over the rounds
of the factor within the round, which a machine that slows down for a minute can't bend.
"""

import argparse
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from kdzoo.errors import UserError

if TYPE_CHECKING:  # --help is not to wait for torch
    import torch

    from kdzoo.tools.benchmarks.images import Images
    from kdzoo.tools.benchmarks.machine import Machine
    from kdzoo.tools.benchmarks.timing import Contestant

PLAIN = "plain loop"
FIRST_CACHE = "first run's teacher cache"
# (device, teacher, student, batch size) -> the factor over the plain loop that kdzoo promises.
TARGETS = {
    ("cpu", "resnet20", "resnet8", 128): (1.5, "2 CPU cores"),
    ("cuda", "resnet32x4", "resnet8x4", 64): (4.0, "a data-centre GPU"),
}
STEPS = {"cpu": 20, "cuda": 200}
COLUMNS = (
    "date", "benchmark", "variant", "teacher", "student", "batch_size", "data", "images", "device", "cpu", "cores",
    "threads", "load", "rounds", "steps", "images_per_second_p20", "images_per_second_p50", "images_per_second_p80",
    "times_plain", "of_limit", "kdzoo", "python", "torch", "torchvision", "git",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pair", default="resnet20-resnet8", help="TEACHER-STUDENT (default: resnet20-resnet8)")
    parser.add_argument("--teacher", help="model name, instead of the pair's")
    parser.add_argument("--student", help="model name, instead of the pair's")
    parser.add_argument("--batch-size", type=int, default=128, help="images a step (default: 128)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds, after one that warms up (default: 5)")
    parser.add_argument("--steps", type=int, help="timed steps a round (default: 20 on a CPU, 200 on a GPU)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the best there is")
    parser.add_argument(
        "--precision", nargs="+", choices=("fp32", "bf16", "fp16"), default=["fp32", "bf16"],
        help="of kdzoo's variants; the plain loop is fp32 (default: fp32 bf16)",
    )
    parser.add_argument("--root", help="folder of data sets with cifar100/ (default: KDZOO_DATA, else data)")
    parser.add_argument("--images", type=int, help="training images (default: 50,000); fewer need less disk")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="append a row per variant")


def run(arguments: argparse.Namespace) -> None:
    """Measure and print; raises UserError for a mistake of the user."""
    import torch

    from kdzoo.tools.benchmarks.images import find_images
    from kdzoo.tools.benchmarks.machine import this_machine
    from kdzoo.tools.benchmarks.results import append_rows, check_columns
    from kdzoo.tools.benchmarks.timing import interleave

    check(arguments)
    if arguments.csv is not None:
        check_columns(arguments.csv, COLUMNS)
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device here; take --device cpu")
    if device.type == "cpu" and "fp16" in arguments.precision:
        raise UserError("fp16 needs a GPU; take fp32 or bf16")  # accelerate would compute in fp32 and say nothing
    steps = arguments.steps or STEPS[device.type]
    teacher, student = networks(arguments)
    machine = this_machine(device)
    with tempfile.TemporaryDirectory(prefix="kdzoo-benchmark-") as scratch:
        images = find_images(arguments.root, arguments.images, Path(scratch))
        print(f"{teacher} -> {student}, batch {arguments.batch_size}, {len(images.images):,} {images.label} images")
        print("\n".join(machine.lines()), flush=True)
        entrants = list(contestants(arguments, device, images, steps, Path(scratch)))
        rates = interleave(entrants, arguments.rounds, steps, device)
    rows = summarise(rates, {entrant.name: entrant.limit for entrant in entrants})
    print("\n".join(table(rows, arguments.rounds, steps)))
    print("\n".join(verdict(rows, (device.type, teacher, student, arguments.batch_size))))
    if arguments.csv is not None:
        append_rows(arguments.csv, csv_rows(rows, arguments, machine, images, steps))


def check(arguments: argparse.Namespace) -> None:
    for name, least in (("batch_size", 2), ("rounds", 1), ("steps", 1), ("images", arguments.batch_size)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise UserError(f"--{name.replace('_', '-')} is {value}; use {least} or more")


def networks(arguments: argparse.Namespace) -> tuple[str, str]:
    """Registered names of teacher and student."""
    from kdzoo.models import PAIRS

    if arguments.pair in PAIRS:
        teacher, student = PAIRS[arguments.pair].teacher, PAIRS[arguments.pair].student
    else:
        parts = arguments.pair.split("-")
        if len(parts) != 2 or not all(parts):
            raise UserError(f"--pair is {arguments.pair!r}; expected TEACHER-STUDENT, such as resnet20-resnet8")
        teacher, student = parts
    return arguments.teacher or teacher, arguments.student or student


def variants(precisions: list[str], device: str) -> Iterator[tuple[str, str | None, dict]]:
    """(name, limit, the config's ``runtime``) of each way of kdzoo to do the step."""
    for precision in dict.fromkeys(precisions):
        ways: dict[str, dict] = {"": {}}
        if device == "cuda":
            if precision != "fp16":  # its loss scale is read on the host
                ways[", CUDA graph"] = dict(cuda_graph=True)
            ways[", compiled"] = dict(compile=True)
        for way, runtime in ways.items():
            name, runtime = f"kdzoo {precision}{way}", dict(precision=precision, **runtime)
            yield name, f"bare {precision}", runtime
            yield f"{name}, {FIRST_CACHE}", None, dict(teacher_cache=True, **runtime)
            yield f"{name}, warm teacher cache", f"bare {precision}, student", dict(teacher_cache=True, **runtime)


def contestants(
    arguments: argparse.Namespace, device: "torch.device", images: "Images", steps: int, scratch: Path
) -> Iterator["Contestant"]:
    """The plain loop, kdzoo's variants, and the bare networks that bound them."""
    from kdzoo.models import create_model
    from kdzoo.tools.benchmarks.bare_model import BareModel
    from kdzoo.tools.benchmarks.images import CLASSES
    from kdzoo.tools.benchmarks.kdzoo_loop import KdzooLoop, experiment, mean_known
    from kdzoo.tools.benchmarks.machine import cores
    from kdzoo.tools.benchmarks.plain_loop import Pictures, PlainLoop
    from kdzoo.tools.benchmarks.timing import LEAD

    teacher, student = networks(arguments)
    size = arguments.batch_size
    pair = [create_model(name, CLASSES).network for name in (teacher, student)]
    yield PlainLoop(*pair, Pictures(images.images, images.labels), size, device, cores())
    for name, limit, runtime in variants(arguments.precision, device.type):
        first = name.endswith(FIRST_CACHE)  # its folder is its own: the other variants draw the same views
        runtime |= dict(cache_dir=str(scratch / (name.replace(" ", "-") if first else "cache")))
        loop = KdzooLoop(name, experiment(images.data, teacher, student, size, runtime), device.type, limit)
        if runtime.get("teacher_cache"):
            loop.fill_cache(arguments.rounds + 1, LEAD + steps, mean_known() if first else 1.0)
        yield loop
    for precision in dict.fromkeys(arguments.precision):
        both = [create_model(name, CLASSES) for name in (teacher, student)]
        yield BareModel(f"bare {precision}", *both, precision, size, device)
        alone = create_model(student, CLASSES)
        yield BareModel(f"bare {precision}, student", None, alone, precision, size, device)


def summarise(rates: dict[str, list[float]], limits: dict[str, str | None]) -> list[dict]:
    """One row a contestant: quantiles over the rounds, factor over the plain loop, share of its limit."""
    import numpy as np

    rows = []
    for name, mine in rates.items():
        p20, p50, p80 = np.quantile(mine, [0.2, 0.5, 0.8]).tolist()
        factor = float(np.median(np.divide(mine, rates[PLAIN])))
        limit = rates.get(limits[name])
        share = None if limit is None else float(np.median(np.divide(mine, limit)))
        rows.append(dict(variant=name, p20=p20, p50=p50, p80=p80, times_plain=factor, of_limit=share))
    return rows


def table(rows: list[dict], rounds: int, steps: int) -> list[str]:
    """The rows for people."""
    from kdzoo.tools.benchmarks.kdzoo_loop import EPOCHS, mean_known

    width = max(len(row["variant"]) for row in rows)
    head = f"{'images/s':{width}}  {'p20':>9} {'p50':>9} {'p80':>9}  {'x plain':>8}  {'of limit':>8}"
    lines = ["", head]
    for row in rows:
        share = "-" if row["of_limit"] is None else f"{row['of_limit']:.0%}"
        quantiles = " ".join(f"{row[q]:9,.0f}" for q in ("p20", "p50", "p80"))
        lines.append(f"{row['variant']:{width}}  {quantiles}  {row['times_plain']:8.2f}  {share:>8}")
    return [
        *lines,
        "",
        f"{rounds} rounds of {steps} steps. Bare: teacher forward, student forward and backward on one ready batch,",
        "the limit; with \"student\": no teacher, the limit where its logits are cached. First run's teacher cache:",
        f"the teacher answers {1 - mean_known():.0%} of the views, as it does on average over a run of {EPOCHS} epochs",
        "that starts with an empty cache. Warm: all views drawn were drawn before, as in later runs with that teacher.",
        "",
    ]


def verdict(rows: list[dict], setting: tuple[str, str, str, int]) -> list[str]:
    """Whether the promise for this setting is kept; nothing where none is made."""
    if setting not in TARGETS:
        return []
    target, where = TARGETS[setting]
    own = [row for row in rows if row["variant"].startswith("kdzoo")]
    reached = [row["variant"] for row in own if row["times_plain"] >= target]
    missed = [row["variant"] for row in own if row["times_plain"] < target]
    return [
        f"target on {where}: {target:g} times the plain loop",
        f"  reached by: {'; '.join(reached) or 'none'}",
        f"  missed by: {'; '.join(missed) or 'none'}",
    ]


def csv_rows(
    rows: list[dict], arguments: argparse.Namespace, machine: "Machine", images: "Images", steps: int
) -> list[dict[str, object]]:
    """The rows for the CSV file, in the order of COLUMNS."""
    teacher, student = networks(arguments)
    shared = dict(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"), benchmark="train", teacher=teacher,
        student=student, batch_size=arguments.batch_size, data=images.label, images=len(images.images),
        device=machine.device, cpu=machine.cpu, cores=machine.cores, threads=machine.threads,
        load="" if machine.load is None else round(machine.load, 2), rounds=arguments.rounds, steps=steps,
        git=machine.git or "",
    )
    shared |= {name: machine.versions.get(name, "") for name in ("kdzoo", "python", "torch", "torchvision")}
    found = []
    for row in rows:
        own = {f"images_per_second_{q}": round(row[q], 1) for q in ("p20", "p50", "p80")}
        share = "" if row["of_limit"] is None else round(row["of_limit"], 4)
        values = shared | own | dict(variant=row["variant"], times_plain=round(row["times_plain"], 4), of_limit=share)
        found.append({column: values[column] for column in COLUMNS})
    return found
