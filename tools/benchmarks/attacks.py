"""APGD: kdzoo against pyautoattack on the same model and images."""

import argparse
import time
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

from kdzoo.errors import UserError

TARGETS = {"cpu": 1.3, "cuda": 2.0}  # times pyautoattack's images a second
CLASSES = 10
FOLDED = "kdzoo, folded and channels last"  # Folded(model): the same function up to rounding
COLUMNS = (
    "date", "benchmark", "contestant", "model", "norm", "eps", "loss", "steps", "images", "images_per_second", "times",
    "held", "device", "cpu", "threads", "load", "rounds", "torch", "git",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="resnet20", help="a CIFAR network (default resnet20), untrained")
    parser.add_argument("--norm", choices=("Linf", "L2", "L1"), default="Linf", help="default Linf")
    parser.add_argument(
        "--eps", type=float, default=0.03, help="decides how many images hold (default 0.03: about half)"
    )
    parser.add_argument("--loss", choices=("ce", "dlr"), default="ce", help="default ce")
    parser.add_argument("--steps", type=int, default=20, help="default 20 (AutoAttack takes 100)")
    parser.add_argument("--images", type=int, default=64, help="in a batch (default 64)")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds, after one that warms up (default 3)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the best there is")
    parser.add_argument("--csv", type=Path, help="append the rows to this file")


def run(arguments: argparse.Namespace) -> None:
    """Measure in turn, print the table and the verdict."""
    import torch

    from kdzoo.tools.benchmarks.machine import this_machine
    from kdzoo.tools.benchmarks.results import append_rows, check_columns

    check(arguments)
    if arguments.csv:
        check_columns(arguments.csv, COLUMNS)
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    machine = this_machine(device)
    print("\n".join(machine.lines()))
    rates, held = measure(contestants(arguments, device), arguments.images, arguments.rounds, device)
    rows = summarise(rates, held)
    print(f"{arguments.model}, {arguments.norm} {arguments.eps:g}, {arguments.loss}, {arguments.steps} steps, "
          f"{arguments.images} images")  # fmt: skip
    print(f"{'':34s}  images/s  times  held %")
    for row in rows:
        print(
            f"{row['contestant']:34s}  {row['images_per_second']:8.1f}  {row['times']:5.2f}  {100 * row['held']:6.1f}"
        )
    print(verdict(rows, device.type))
    if arguments.csv:
        shared = dict(
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"), benchmark="attacks", model=arguments.model,
            norm=arguments.norm, eps=arguments.eps, loss=arguments.loss, steps=arguments.steps,
            images=arguments.images, device=machine.device, cpu=machine.cpu, threads=machine.threads,
            load=machine.load or "", rounds=arguments.rounds, torch=machine.versions.get("torch", ""),
            git=machine.git or "",
        )  # fmt: skip
        append_rows(arguments.csv, [shared | row for row in rows])


def check(arguments: argparse.Namespace) -> None:
    import importlib.util

    import torch

    for name in ("steps", "images", "rounds"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name} is {getattr(arguments, name)}; use 1 or more")
    if arguments.eps <= 0:
        raise UserError(f"--eps is {arguments.eps}; use a number above 0")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise UserError("no cuda device here; leave --device out")
    if importlib.util.find_spec("pyautoattack") is None:
        raise UserError("pyautoattack is needed for the comparison; pip install pyautoattack")


def contestants(arguments: argparse.Namespace, device) -> dict:
    """Name -> a function that attacks the batch and returns which images hold, [B]."""
    import torch
    from pyautoattack.autopgd_base import APGDAttack

    from kdzoo.models import create_model
    from kdzoo.models.fold import Folded
    from kdzoo.robust.attacks import APGD

    torch.manual_seed(0)
    model = create_model(arguments.model, CLASSES).to(device).eval()
    images = torch.rand(arguments.images, 3, 32, 32, device=device)
    with torch.no_grad():
        target = model(images).argmax(dim=1)
    theirs = APGDAttack(
        model, n_iter=arguments.steps, norm=arguments.norm, eps=arguments.eps, loss=arguments.loss, device=device
    )
    ours = APGD(arguments.norm, arguments.eps, arguments.steps, arguments.loss)
    folded = Folded(model).to(memory_format=torch.channels_last)

    def published():
        adversarial = theirs.perturb(images, target)
        with torch.no_grad():
            return model(adversarial).argmax(dim=1) == target

    def verified():
        """On the folded network; a hit counts if the model itself is wrong."""
        adversarial = ours.attack(folded, images.to(memory_format=torch.channels_last), target).adversarial
        with torch.no_grad():
            return model(adversarial).argmax(dim=1) == target

    return {
        "pyautoattack": published,
        "kdzoo": lambda: ~ours.attack(model, images, target).broken,
        "kdzoo, every image to the end": lambda: ~ours.attack(model, images, target, drop_broken=False).broken,
        FOLDED: verified,
    }


def measure(attacks: dict, images: int, rounds: int, device) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Images a second of each in each round, in turn; round 0 warms up. And the share of images that hold."""
    from kdzoo.tools.benchmarks.timing import no_collection, waiter

    wait, rates, held = waiter(device), {name: [] for name in attacks}, {}
    with no_collection():
        for number in range(rounds + 1):
            for name, attack in attacks.items():
                wait()
                start = time.perf_counter()
                result = attack()
                wait()
                seconds = time.perf_counter() - start
                held[name] = float(result.float().mean())
                if number:
                    rates[name].append(images / seconds)
    return rates, held


def summarise(rates: dict[str, list[float]], held: dict[str, float]) -> list[dict]:
    """Medians; factors are taken within rounds, for the machine's speed changes between them."""
    base = rates["pyautoattack"]
    return [
        dict(
            contestant=name, images_per_second=median(values), held=held[name],
            times=median(value / other for value, other in zip(values, base, strict=True)),
        )
        for name, values in rates.items()
    ]  # fmt: skip


def verdict(rows: list[dict], kind: str) -> str:
    target = TARGETS.get(kind, TARGETS["cpu"])
    said = [
        f"{row['contestant']}: {'reached' if row['times'] >= target else 'missed'} ({row['times']:.2f})"
        for row in rows
        if row["contestant"] in ("kdzoo", FOLDED)
    ]
    return f"{target:g} times pyautoattack: {'; '.join(said)}"
