"""Timing several loops against each other: in turn, in one process, so that a slow minute slows all of them."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from tqdm import tqdm

from kdzoo.heap import keep_freed_memory, set_thresholds
from kdzoo.tools.benchmarks.train import PLAIN

# Untimed steps that begin each round. More than the batches a DataLoader holds ready at its start
# (2 workers x 2), so that what is timed is the steady state of loading and computing together.
LEAD = 8


class Contestant(Protocol):
    """A loop to be timed.

    ``limit`` is the name of the contestant that it can't be faster than.
    """

    name: str
    limit: str | None

    def steps(self, number: int, count: int) -> Iterator[int]:
        """Round ``number``: do a step, data included, and yield its images; ``count`` times."""


def interleave(
    contestants: Sequence[Contestant], rounds: int, steps: int, device: torch.device
) -> dict[str, list[float]]:
    """Images per second of each contestant in each round.

    A round times every contestant once, and each round begins with another one. Round 0 warms up
    and is not counted.

    Args:
        contestants: what to time, with different names.
        rounds: counted rounds.
        steps: timed steps of a contestant in a round.
        device: where they compute; it is waited for before and after the timed steps.

    Returns:
        For each name one rate a round, in the rounds' order.
    """
    rates: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    with tqdm(total=(rounds + 1) * len(contestants), unit="run", leave=False, disable=None) as bar, no_collection():
        for number in range(rounds + 1):
            gc.collect()
            first = number % len(contestants)
            for contestant in [*contestants[first:], *contestants[:first]]:
                bar.set_postfix_str(contestant.name, refresh=False)
                set_heap(contestant.name)
                rate = time_steps(contestant.steps(number, LEAD + steps), steps, waiter(device))
                if number:
                    rates[contestant.name].append(rate)
                bar.update()
    return rates


def set_heap(name: str) -> None:
    """The allocator as the contestant of that name has it in a process of its own.

    kdzoo's tools keep what is freed; the loops of the literature get the largest thresholds glibc reaches by itself.
    """
    if name == PLAIN:
        set_thresholds(2**25, 2**26)
    else:
        keep_freed_memory()


@contextmanager
def no_collection() -> Iterator[None]:
    """Python's garbage collection is off inside."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def time_steps(run: Iterator[int], steps: int, wait: Callable[[], None]) -> float:
    """Images per second of the last ``steps`` of ``LEAD + steps`` steps."""
    try:
        for _ in range(LEAD):
            next(run)
        wait()
        start = time.perf_counter()
        images = sum(next(run) for _ in range(steps))
        wait()
        return images / (time.perf_counter() - start)
    finally:
        run.close()


def waiter(device: torch.device) -> Callable[[], None]:
    """A function that returns when the device has done all its work."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)
