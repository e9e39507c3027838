"""What the data room hands out: batches, their loaders and the set they belong to."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from torch import Tensor


@dataclass
class Batch:
    """The images of one step, as this process sees them.

    Args:
        images: [B, C, H, W] float32 in [0, 1] on the device, channels_last.
        target: [B] int64 on the device, or [B, num_classes] float32 after Mixup or CutMix.
        index: [B] int64 on the CPU, positions in the (limited) set; ``None`` where a set cannot tell.
        view: [B] int64 on the CPU, which of the loader's ``views`` augmented views each image
            is; ``None`` where views are unbounded.
        weight: local B * world / global B: the mean over processes of ``weight * local mean``
            is the mean over the global batch.
        second: [B, C, H, W], a second view of the same images; ``None`` where none is asked for.
    """

    images: Tensor
    target: Tensor
    index: Tensor | None
    view: Tensor | None
    weight: float
    second: Tensor | None = None


class Loader(Protocol):
    """One part (train or test) of a data set, in batches.

    ``len(loader)`` is the number of batches an epoch gives this process; ``size`` the images of
    the set; ``labels`` their classes [size] int64, before anything mixes them; ``views`` how many distinct
    augmented views an image has (``None``: unbounded); ``augment_id`` names the augmentation with its
    parameters; ``broken`` lists files that could not be read.
    """

    size: int
    labels: np.ndarray
    views: int | None
    augment_id: str
    broken: list[str]

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Batches of an epoch from step ``start`` on; they depend on (seed, epoch, step) alone."""

    def fingerprint(self, local: bool = False) -> str:
        """SHA-256 of what the set holds; ``local``: for what is kept on this machine alone, see StreamLoader."""


@dataclass
class Data:
    """A data set, ready for training and testing.

    Args:
        train: loader of the training part: shuffled and augmented.
        test: loader of the test part: in order, every image once across the processes.
        classes: class names, in the order of the labels.
        mean: mean per channel, for pixels in [0, 1]; normalisation itself belongs to the model.
        std: standard deviation per channel.
        shape: (C, H, W) of one image.
    """

    train: Loader
    test: Loader
    classes: list[str]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shape: tuple[int, int, int]

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the training images and labels; computed on first use."""
        return self.train.fingerprint()
