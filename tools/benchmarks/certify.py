"""Certification against the bare model and against the plain published loop."""

import argparse
from datetime import datetime, timezone
from pathlib import Path

from kdzoo.errors import UserError

SIGMA, CLASSES = 0.25, 10
TARGETS = {"cpu": (0.9, 1.3), "cuda": (0.9, 3.0)}  # share of the bare model, times the plain loop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="resnet110", help="a CIFAR network (default resnet110, as the paper's)")
    parser.add_argument(
        "--batch-size", type=int, default=400, help="samples a forward pass (default 400, as the paper's)"
    )
    parser.add_argument("--n", type=int, default=2000, help="samples an image in a round (default 2000)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds; each times every contestant once")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the best there is")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="of kdzoo's (default: bf16 on a GPU)")
    parser.add_argument("--csv", help="append the rows to this file")


def run(arguments: argparse.Namespace) -> None:
    """Measure in turn, print the table and the verdict."""
    import torch

    from kdzoo.models import create_model
    from kdzoo.models.fold import Folded
    from kdzoo.tools.benchmarks.machine import this_machine
    from kdzoo.tools.benchmarks.results import append_rows

    for name in ("batch_size", "n", "rounds"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(arguments, name)}; use 1 or more")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise UserError("no cuda device here; leave --device out")
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    precision = arguments.precision or ("bf16" if device.type == "cuda" else "fp32")
    machine = this_machine(device)
    print("\n".join(machine.lines()))
    torch.manual_seed(0)
    model = create_model(arguments.model, CLASSES).to(device).eval()
    folded = Folded(model).to(memory_format=torch.channels_last)
    image = torch.rand(3, 32, 32)
    size = min(arguments.batch_size, arguments.n)
    contestants = [
        Plain(model, image.to(device), arguments.n, size),
        Kdzoo(folded, image, arguments.n, size, precision),
        Bare(folded, size, arguments.n, precision, device),
    ]
    rates = measure(contestants, arguments.rounds, device)
    rows = summarise(rates, arguments.n)
    print("\n".join(table(rows, arguments, size)))
    print("\n".join(verdict(rows, device.type)))
    if arguments.csv:
        shared = dict(
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            benchmark="certify",
            model=arguments.model,
            batch_size=size,
            n=arguments.n,
            rounds=arguments.rounds,
            device=machine.device,
            cpu=machine.cpu,
            threads=machine.threads,
            load=machine.load or "",
            torch=machine.versions.get("torch", ""),
            git=machine.git or "",
        )
        append_rows(Path(arguments.csv), [shared | row for row in rows])


def measure(contestants: list, rounds: int, device) -> dict[str, list[float]]:
    """Samples a second of each in each round; a round times one image of each, in turn, beginning with another one.

    Round 0 warms up and is not counted.
    """
    import time

    from kdzoo.tools.benchmarks.timing import no_collection, set_heap, waiter

    wait = waiter(device)
    rates: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    with no_collection():
        for number in range(rounds + 1):
            first = number % len(contestants)
            for contestant in [*contestants[first:], *contestants[:first]]:
                set_heap(contestant.name)
                contestant.image(number)  # until its memory is as it will be
                wait()
                start = time.perf_counter()
                samples = contestant.image(number)
                wait()
                if number:
                    rates[contestant.name].append(samples / (time.perf_counter() - start))
    return rates


class Plain:
    """The published loop (Cohen et al., 2019) in our words: float32, NCHW, noise a batch, counting in Python."""

    name = "plain loop"

    def __init__(self, model, image, n: int, size: int):
        import copy

        import torch

        self.model = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
        self.x, self.n, self.size = image, n, size

    def image(self, number: int) -> int:
        """Count the votes of one image; its samples."""
        import numpy as np
        import torch

        counts, left = np.zeros(CLASSES, dtype=int), self.n
        while left > 0:
            size = min(self.size, left)
            left -= size
            with torch.no_grad():
                batch = self.x.repeat((size, 1, 1, 1))
                predictions = self.model(batch + torch.randn_like(batch) * SIGMA).argmax(1).cpu().numpy()
            for prediction in predictions:
                counts[prediction] += 1
        return self.n


class Kdzoo:
    """``SmoothedClassifier.votes`` with keyed noise, channels_last, batch norm folded."""

    name = "kdzoo"

    def __init__(self, model, image, n: int, size: int, precision: str):
        import torch

        from kdzoo.robust.certify import SmoothedClassifier

        model = model.to(memory_format=torch.channels_last)
        self.smoothed = SmoothedClassifier(model, CLASSES, SIGMA, batch_size=size, precision=precision)
        self.x, self.n = image, n

    def image(self, number: int) -> int:
        self.smoothed.votes(self.smoothed.prepare(self.x), number, 0, self.n).tolist()
        return self.n


class Bare:
    """The model kdzoo runs alone, on a batch that lies ready: kdzoo's layout, precision and folding."""

    name = "bare model"

    def __init__(self, model, size: int, n: int, precision: str, device):
        import torch

        self.model, self.size, self.n, self.precision = model, size, n, precision
        self.batch = torch.rand(size, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)

    def image(self, number: int) -> int:
        import torch

        passes = -(-self.n // self.size)
        enabled = self.precision == "bf16"
        with torch.inference_mode(), torch.autocast(self.batch.device.type, torch.bfloat16, enabled=enabled):
            for _ in range(passes):
                self.model(self.batch)
        return passes * self.size


def summarise(rates: dict[str, list[float]], n: int) -> list[dict]:
    """Median samples a second, images an hour, and the medians of the rounds' ratios."""
    import numpy as np

    plain, bare = rates["plain loop"], rates["bare model"]
    return [
        dict(
            variant=name,
            samples_per_second=round(float(np.median(mine)), 1),
            images_per_hour=round(3600 * float(np.median(mine)) / n, 1),
            times_plain=round(float(np.median(np.divide(mine, plain))), 4),
            of_bare=round(float(np.median(np.divide(mine, bare))), 4),
        )
        for name, mine in rates.items()
    ]


def table(rows: list[dict], arguments: argparse.Namespace, size: int) -> list[str]:
    head = f"{'':12}  {'samples/s':>10}  {'images/h':>10}  {'x plain':>8}  {'of bare':>8}"
    lines = ["", f"{arguments.model}, batch {size}, n = {arguments.n:,} an image", head]
    lines += [
        f"{r['variant']:12}  {r['samples_per_second']:10,.1f}  {r['images_per_hour']:10,.1f}  {r['times_plain']:8.2f}  "
        f"{r['of_bare']:8.1%}"
        for r in rows
    ]
    return [*lines, ""]


def verdict(rows: list[dict], device: str) -> list[str]:
    """Both promises, kept or not."""
    (own,) = (row for row in rows if row["variant"] == "kdzoo")
    share, times = TARGETS[device]
    told = []
    place = "GPU" if device == "cuda" else "CPU"
    for name, reached, target in (
        ("share of the bare model", own["of_bare"], share),
        ("times the plain loop", own["times_plain"], times),
    ):
        told.append(
            f"{name}: {reached:.2f}, target on a {place} {target:g}: "
            f"{'reached' if reached >= target else 'missed'}"
        )
    return told
