"""Which image comes when, and to which process.

Every draw is made on the CPU by a generator keyed by (seed, epoch, step), for the global batch:
no state has to be saved for a run to go on, and the number of processes changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kdzoo.errors import UserError

# Keys have one length and end in a tag that is not zero: NumPy pads short keys with zeros.
_ORDER, _AUGMENT = 1, 2


@dataclass(frozen=True)
class Share:
    """One step's global batch and the part of it this process takes.

    Args:
        whole: [G] int64, positions in the set of the global batch.
        rows: [B] int64, this process's rows of ``whole``, ascending.
        weight: B * world / G.
        rng: the generator of this step's augmentation; the same in every process.
    """

    whole: np.ndarray
    rows: np.ndarray
    weight: float
    rng: np.random.Generator


@dataclass(frozen=True)
class TrainPlan:
    """A new shuffle each epoch; the last, smaller batch is kept.

    The last batch is trimmed to a multiple of ``world`` and dropped where it would hold fewer
    than two images a process (batch normalisation needs two).

    Args:
        size: images in the set.
        batch_size: images of a global batch.
        seed: 0 or more.
        rank, world: number of this process, number of processes.
    """

    size: int
    batch_size: int
    seed: int
    rank: int = 0
    world: int = 1

    def __post_init__(self):
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}; use 0 or more")
        if self.batch_size < self.world:
            raise UserError(f"batch_size {self.batch_size} gives some of {self.world} processes no image; raise it")
        if not len(self):
            raise UserError(
                f"the training set has {self.size} image(s), too few for one batch of at least two for each of "
                f"{self.world} process(es); raise train_limit or use fewer processes"
            )

    def __len__(self) -> int:
        return self.size // self.batch_size + (self._last() > 0)

    def shares(self, epoch: int, start: int = 0) -> Iterator[Share]:
        """The steps of an epoch, from step ``start`` on."""
        order = np.random.default_rng([self.seed, epoch, 0, _ORDER]).permutation(self.size)
        for step in range(start, len(self)):
            full = (step + 1) * self.batch_size <= self.size
            count = self.batch_size if full else self._last()
            first, end = self.rank * count // self.world, (self.rank + 1) * count // self.world
            yield Share(
                whole=order[step * self.batch_size :][:count],
                rows=np.arange(first, end),
                weight=(end - first) * self.world / count,
                rng=np.random.default_rng([self.seed, epoch, step, _AUGMENT]),
            )

    def _last(self) -> int:
        """Images of the smaller batch at the end; 0 where there is none."""
        each = self.size % self.batch_size // self.world
        return each * self.world if each >= 2 else 0


@dataclass(frozen=True)
class TestPlan:
    """The set in order, each image once: process ``rank`` takes one contiguous part.

    Parts differ by at most one image, so the last batches of two processes may differ in size
    and a process may have one batch more than another.

    Args:
        size: images in the set.
        batch_size: images of a step over all processes.
        rank, world: number of this process, number of processes.
    """

    __test__ = False  # pytest takes classes called Test... for tests

    size: int
    batch_size: int
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        return (len(self._part()) + self._local() - 1) // self._local()

    def shares(self, epoch: int = 0, start: int = 0) -> Iterator[Share]:
        """The steps of a pass from step ``start`` on; every epoch is the same."""
        part, local = self._part(), self._local()
        for step in range(start, len(self)):
            whole = part[step * local : (step + 1) * local]
            yield Share(whole, np.arange(len(whole)), 1.0, np.random.default_rng(0))

    def _part(self) -> np.ndarray:
        return np.arange(self.rank * self.size // self.world, (self.rank + 1) * self.size // self.world)

    def _local(self) -> int:
        return max(1, (self.batch_size + self.world - 1) // self.world)


def stratified(labels: np.ndarray, count: int | None, seed: int = 0) -> np.ndarray:
    """A fixed subset with the classes in the set's own proportions.

    Args:
        labels: [N] int64.
        count: size of the subset; ``None`` or N and above: everything.
        seed: of the draw.

    Returns:
        [count] int64, positions, ascending.

    Example:
        >>> stratified(np.array([0, 0, 0, 0, 1, 1]), 3)     # two of class 0, one of class 1
    """
    if count is None or count >= len(labels):
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    members = [rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    fair = np.array([len(m) for m in members]) * count / len(labels)
    take = np.floor(fair).astype(np.int64)
    # The images that rounding left over go to the classes with the largest remainders.
    take[np.argsort(take - fair, kind="stable")[: count - take.sum()]] += 1
    return np.sort(np.concatenate([m[:n] for m, n in zip(members, take, strict=True)]))
