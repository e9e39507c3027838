"""Certifying a test set: which images, on which process, with the log as the state."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from kdzoo.errors import UserError
from kdzoo.robust.certify.log import CertificationLog, Row, merge_shards, records_of, shard_path, side_file
from kdzoo.robust.certify.smoothed import SmoothedClassifier


@dataclass(frozen=True)
class Shard:
    """This process's share: image k of the wanted ones where ``k % count == number``."""

    number: int = 0
    count: int = 1

    def __post_init__(self):
        if not 0 <= self.number < self.count:
            raise ValueError(f"shard {self.number} of {self.count} does not exist; count from 0")

    def of(self, wanted: Sequence[int]) -> list[int]:
        return list(wanted[self.number :: self.count])


def wanted_images(size: int, skip: int = 1, first: int = 0, most: int | None = None) -> list[int]:
    """Every ``skip``-th image from ``first`` on, at most ``most``: the literature certifies every 20th of CIFAR-10.

    Raises:
        ValueError: skip below 1, nothing left.
    """
    if skip < 1 or first < 0 or (most is not None and most < 1):
        raise ValueError(f"skip and max-images must be at least 1 and first at least 0, got {skip}, {most}, {first}")
    found = list(range(first, size, skip))[:most]
    if not found:
        raise ValueError(f"there is no image from {first} on in a set of {size}; begin earlier")
    return found


def read_images(loader, wanted: Sequence[int]) -> Iterator[tuple[int, Tensor, int]]:
    """(index, image [C, H, W] on the host, label) of the wanted images, in ascending order.

    The host copy is made once a batch, so that certifying waits for the device once an image.

    Raises:
        UserError: a wanted image could not be read.
    """
    left = set(wanted)
    for batch in loader.epoch(0):
        places = batch.index.tolist()  # not counted: files that can't be read are missing from the batch
        rows = [row for row, place in enumerate(places) if place in left]
        if rows:
            images, labels = batch.images[rows].cpu().contiguous(), batch.target[rows].tolist()
            for row, image, label in zip(rows, images, labels, strict=True):
                left.remove(places[row])
                yield places[row], image, label
        if not left:
            return
    if left:
        raise UserError(f"test image {min(left)} could not be read; mend its file, or take it out of the set")


def certify_set(
    smoothed: SmoothedClassifier,
    certifier,
    loader,
    path: str | Path,
    wanted: Sequence[int],
    settings: dict,
    shard: Shard = Shard(),
    progress: Callable[[CertificationLog, int], None] = lambda log, total: None,
) -> CertificationLog:
    """Certify images and log them; images that the log holds are not run again.

    Args:
        smoothed: the classifier.
        certifier: one of ``CERTIFIERS``.
        loader: a test loader of ``kdzoo.data.build_data`` that gives all images to this process.
        path: the ``.tsv`` log; with several shards each writes its own beside it, and who completes the
            last writes this one.
        wanted: indices in the test set, ascending.
        settings: what else the certificates depend on: weights, data, kind of device.
        shard: this process's share.
        progress: called with the log and the number of images after each.

    Returns:
        The log of this process's share.

    Raises:
        UserError: a log of other settings.
        ValueError: an image or a model that can't be certified.
    """
    path = Path(path)
    mine = shard.of(wanted)
    own = path if shard.count == 1 else shard_path(path, shard.number, shard.count)
    settings = run_settings(smoothed, certifier, wanted) | settings
    if shard.count > 1 and (path.exists() or side_file(path).exists()):
        records_of(path, settings)  # the merged log must not take the place of one with other settings
    log = CertificationLog(own, settings)
    done = [row.index for row in log.rows]
    if done != mine[: len(done)]:
        raise ValueError(f"{own} holds other images than were asked for; choose another --out")
    labels: dict[int, int] = {}

    def images() -> Iterator[tuple[int, Tensor]]:
        for index, image, label in read_images(loader, mine[len(done) :]):
            labels[index] = label
            yield index, image

    progress(log, len(mine))
    before = time.perf_counter()
    for index, outcome in certifier.run(smoothed, images()):
        now = time.perf_counter()
        row = Row(index, labels.pop(index), outcome.predicted, outcome.radius, now - before)
        log.append(row, outcome.record)
        before = now
        progress(log, len(mine))
    if shard.count > 1:
        merge_shards(path, shard.count, wanted)
    return log


def run_settings(smoothed: SmoothedClassifier, certifier, wanted: Sequence[int]) -> dict:
    """What the certificates of a run depend on; the batch size is not among it."""
    step = wanted[1] - wanted[0] if len(wanted) > 1 else 1
    return dict(
        method=type(certifier).__name__.lower(),
        label=certifier.label,
        sigma=smoothed.sigma,
        seed=smoothed.seed,
        num_classes=smoothed.num_classes,
        precision=smoothed.precision,
        noise="philox4x32 box-muller",
        first=wanted[0],
        skip=step,
        images=len(wanted),
        **certifier.settings(),
    )
