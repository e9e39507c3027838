"""Fitting the naive-Bayes probe in one streamed pass, against copying the same memory and scikit-learn's peers.

Features are drawn once for a chunk, which is then streamed as often as the sample count asks for, so that memory
does not grow with it. Rates are gigabytes of features a second; the copy's is that of the same chunk between two
arrays that are in memory already.
"""

import argparse
import resource
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from kdzoo.errors import UserError

TARGET = 0.5  # of the copy's rate
COLUMNS = (
    "date", "benchmark", "variant", "samples", "features", "classes", "chunk", "seconds", "gb_per_s", "of_copy",
    "peak_rss_mb", "device", "cpu", "cores", "threads", "load", "kdzoo", "python", "torch", "git",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=int, default=1_000_000, help="rows (default: 1,000,000)")
    parser.add_argument("--features", type=int, default=768, help="columns (default: 768)")
    parser.add_argument("--classes", type=int, default=10, help="(default: 10)")
    parser.add_argument("--chunk", type=int, default=50_000, help="rows of a batch (default: 50,000)")
    parser.add_argument("--peer-samples", type=int, default=50_000, help="rows of GaussianNB's fit (default: 50,000)")
    parser.add_argument("--logistic-samples", type=int, default=5_000, help="of LogisticRegression's (default: 5,000)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(default: cpu)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="append a row per variant")


def run(arguments: argparse.Namespace) -> None:
    """Measure and print; raises UserError for a mistake of the user."""
    import numpy as np
    import torch

    from kdzoo.tools.benchmarks.machine import this_machine
    from kdzoo.tools.benchmarks.results import append_rows, check_columns

    check(arguments)
    if arguments.csv is not None:
        check_columns(arguments.csv, COLUMNS)
    device = torch.device(arguments.device)
    machine = this_machine(device)
    print("\n".join(machine.lines()), flush=True)
    rng = np.random.default_rng(0)
    chunk = min(arguments.chunk, arguments.samples)
    labels = rng.integers(arguments.classes, size=chunk)
    labels[: arguments.classes] = np.arange(arguments.classes)
    features = rng.standard_normal((chunk, arguments.features), dtype=np.float32) + 0.1 * labels[:, None]
    features = features.astype(np.float32)
    rows = [
        dict(variant=name, samples=count, seconds=seconds, peak_rss_mb=peak_memory())
        for name, count, seconds in measure(arguments, features, labels)
    ]
    gigabytes = 4e-9 * arguments.features
    for row in rows:
        row["gb_per_s"] = row["samples"] * gigabytes / row["seconds"]
        row["of_copy"] = row["gb_per_s"] / rows[0]["gb_per_s"]
    print("\n".join(table(rows)))
    if arguments.csv is not None:
        append_rows(arguments.csv, [csv_row(row, arguments, machine, chunk) for row in rows])


def check(arguments: argparse.Namespace) -> None:
    import torch

    least = dict(samples=2, features=1, classes=2, chunk=arguments.classes, peer_samples=1, logistic_samples=1)
    for name, low in least.items():
        if getattr(arguments, name) < low:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(arguments, name)}; use {low} or more")
    if min(arguments.samples, arguments.peer_samples, arguments.logistic_samples) < arguments.classes:
        raise UserError(f"every sample count has to be at least --classes, {arguments.classes}")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device here; take --device cpu")


def measure(arguments: argparse.Namespace, features, labels):
    """(variant, samples, seconds) of the copy, the probe and its peers, in turn."""
    import numpy as np
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB

    from kdzoo.heads import NaiveBayesProbe

    classes = np.arange(arguments.classes)
    batch = features
    if arguments.device == "cuda":
        batch = torch.from_numpy(features).cuda()
        target = torch.empty_like(batch)
        yield "copy", arguments.samples, stream(len(batch), arguments.samples, lambda n: target[:n].copy_(batch[:n]))
    else:
        target = np.empty_like(features)
        np.copyto(target, features)
        yield (
            "copy",
            arguments.samples,
            stream(len(batch), arguments.samples, lambda n: np.copyto(target[:n], features[:n])),
        )
    probe = NaiveBayesProbe()
    yield (
        "kdzoo NaiveBayesProbe",
        arguments.samples,
        stream(len(batch), arguments.samples, lambda n: probe.partial_fit(batch[:n], labels[:n], classes)),
    )
    peer, count = GaussianNB(), min(arguments.peer_samples, arguments.samples)
    yield (
        "scikit-learn GaussianNB",
        count,
        stream(len(features), count, lambda n: peer.partial_fit(features[:n], labels[:n], classes)),
    )
    count = min(arguments.logistic_samples, len(features))
    logistic = LogisticRegression(max_iter=100)
    yield (
        "scikit-learn LogisticRegression",
        count,
        stream(count, count, lambda n: logistic.fit(features[:n], labels[:n])),
    )


def stream(chunk: int, samples: int, use: Callable[[int], object]) -> float:
    """Seconds to use ``samples`` rows in chunks."""
    import torch

    def wait() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    wait()
    start = time.perf_counter()
    for first in range(0, samples, chunk):
        use(min(chunk, samples - first))
    wait()
    return time.perf_counter() - start


def peak_memory() -> int:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def table(rows: list[dict]) -> list[str]:
    width = max(len(row["variant"]) for row in rows)
    lines = ["", f"{'':{width}}  {'samples':>10} {'seconds':>9} {'GB/s':>7} {'of copy':>8} {'peak MB':>8}"]
    for row in rows:
        lines.append(
            f"{row['variant']:{width}}  {row['samples']:10,} {row['seconds']:9.2f} {row['gb_per_s']:7.2f} "
            f"{row['of_copy']:8.1%} {row['peak_rss_mb']:8,}"
        )
    reached = "reached" if rows[1]["of_copy"] >= TARGET else "missed"
    return [*lines, "", f"target: half the copy's rate; {reached}"]


def csv_row(row: dict, arguments: argparse.Namespace, machine, chunk: int) -> dict[str, object]:
    versions = machine.versions
    values = dict(
        row, date=datetime.now(timezone.utc).isoformat(timespec="seconds"), benchmark="probe",
        features=arguments.features, classes=arguments.classes, chunk=chunk, device=machine.device, cpu=machine.cpu,
        cores=machine.cores, threads=machine.threads, load=machine.load, kdzoo=versions["kdzoo"],
        python=versions["python"], torch=versions["torch"], git=machine.git,
    )  # fmt: skip
    return {column: values[column] for column in COLUMNS}
