"""Fitting and scoring Mahalanobis: kdzoo against pytorch-ood on the same features.

Both get the same random features, in turn and in one process; the median of several rounds counts. pytorch-ood
computes in torch's default precision: it is timed in float32, its default, and in float64, in which kdzoo always
computes and in which the scores of the two are compared.
"""

import argparse
import time
from datetime import datetime, timezone
from pathlib import Path

from kdzoo.errors import UserError

TARGET = 3.0  # times as fast as pytorch-ood, to fit and to score
COLUMNS = (
    "date", "benchmark", "detector", "precision", "rows", "scored", "width", "classes", "cpu", "cores", "threads",
    "load", "rounds", "fit_seconds", "score_seconds", "fit_times", "score_times", "kdzoo", "python", "torch", "git",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=50_000, help="features to fit to (default: 50,000)")
    parser.add_argument("--scored", type=int, help="features to score (default: as many)")
    parser.add_argument("--width", type=int, default=512, help="D (default: 512)")
    parser.add_argument("--classes", type=int, default=100, help="default: 100")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds, after one that warms up (default: 3)")
    parser.add_argument("--csv", type=Path, help="append the rows to this file")


def run(arguments: argparse.Namespace) -> None:
    import torch

    from kdzoo.tools.benchmarks.machine import this_machine
    from kdzoo.tools.benchmarks.results import append_rows, check_columns

    check(arguments)
    if arguments.csv:
        check_columns(arguments.csv, COLUMNS)
    scored = arguments.scored or arguments.rows
    machine = this_machine(torch.device("cpu"))
    print(f"{arguments.rows:,} x {arguments.width} features, {arguments.classes} classes, {scored:,} scored")
    print("\n".join(machine.lines()))
    seconds, difference = measure(arguments.rows, scored, arguments.width, arguments.classes, arguments.rounds)
    rows = summarise(seconds)
    print(f"{'':24}{'fit s':>9}{'score s':>9}{'fit x':>9}{'score x':>9}   (x: kdzoo is so many times as fast)")
    for row in rows:
        times = "".join(f"{row[key]:9.2f}" for key in ("fit_seconds", "score_seconds", "fit_times", "score_times"))
        print(f"{row['detector'] + ' ' + row['precision']:<24}{times}")
    print(f"largest relative difference of the scores, both in float64: {difference:.1e}")
    print("\n".join(verdict(rows, difference)))
    if arguments.csv:
        told = {name: machine.versions.get(name) for name in ("kdzoo", "python", "torch")}
        common = dict(
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"), benchmark="ood", rows=arguments.rows,
            scored=scored, width=arguments.width, classes=arguments.classes, cpu=machine.cpu, cores=machine.cores,
            threads=machine.threads, load=machine.load, rounds=arguments.rounds, git=machine.git, **told,
        )  # fmt: skip
        append_rows(arguments.csv, [{name: {**common, **row}[name] for name in COLUMNS} for row in rows])


def check(arguments: argparse.Namespace) -> None:
    for name, least in (("rows", 2), ("width", 1), ("classes", 1), ("rounds", 1), ("scored", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise UserError(f"--{name} is {value}; use {least} or more")
    if arguments.rows < 2 * arguments.classes:
        raise UserError(f"--rows is {arguments.rows}; use two for each of the {arguments.classes} classes or more")
    try:
        import pytorch_ood  # noqa: F401
    except ImportError:
        raise UserError("pytorch-ood is not installed; pip install pytorch-ood") from None


def measure(rows: int, scored: int, width: int, classes: int, rounds: int) -> tuple[dict, float]:
    """Seconds to fit and to score, [(fit, score)] a round by (detector, precision), and the scores' difference."""
    import torch
    from pytorch_ood.detector import Mahalanobis as Peer

    from kdzoo.robust.ood import Mahalanobis

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % classes
    features = torch.randn(rows, width, generator=generator)
    features += 3 * torch.randn(classes, width, generator=generator)[labels]
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number in range(rounds + 1):
        scores = {}
        for precision in ("float32", "float64"):
            x = features.to(getattr(torch, precision))
            for name in ("kdzoo", "pytorch-ood"):
                torch.set_default_dtype(x.dtype)  # pytorch-ood's means and covariance are made in it
                try:
                    began = time.perf_counter()
                    detector = Mahalanobis() if name == "kdzoo" else Peer(None)
                    detector.fit_features(x, labels)
                    fitted = time.perf_counter()
                    score = detector.score_features if name == "kdzoo" else detector.predict_features
                    scores[name] = score(x[:scored])
                    ended = time.perf_counter()
                finally:
                    torch.set_default_dtype(torch.float32)
                if number:
                    seconds.setdefault((name, precision), []).append((fitted - began, ended - fitted))
    # pytorch-ood leaves its covariance undivided, so its distances are N times too small.
    peer, ours = -rows * scores["pytorch-ood"], scores["kdzoo"]
    return seconds, float(((peer - ours).abs() / ours.abs()).max())


def summarise(seconds: dict) -> list[dict]:
    """Medians, and the median over rounds of pytorch-ood's time over kdzoo's on the same features."""
    from statistics import median

    rows = []
    for (name, precision), times in seconds.items():
        own = seconds["kdzoo", precision]
        ratios = [median(peer[k] / mine[k] for peer, mine in zip(times, own, strict=True)) for k in (0, 1)]
        rows.append(
            dict(
                detector=name, precision=precision, fit_seconds=median(t[0] for t in times),
                score_seconds=median(t[1] for t in times), fit_times=ratios[0], score_times=ratios[1],
            )
        )  # fmt: skip
    return rows


def verdict(rows: list[dict], difference: float) -> list[str]:
    """Against the target, in words."""
    lines = []
    for row in rows:
        if row["detector"] == "kdzoo":
            continue
        for what in ("fit", "score"):
            reached = "reached" if row[f"{what}_times"] >= TARGET else "missed"
            lines.append(f"{what}: {TARGET:g} times pytorch-ood in {row['precision']}: {reached}")
    lines.append(f"scores equal to 1e-6: {'yes' if difference <= 1e-6 else 'no'}")
    return lines
