"""Data sets that are arrays: images uint8 [N, H, W, C] and labels int64 [N]."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch

from kdzoo.data.memory import MemoryLoader
from kdzoo.data.order import TestPlan, TrainPlan, stratified
from kdzoo.data.pipeline import Pipeline
from kdzoo.data.pixels import channel_statistics
from kdzoo.data.random_resized_crop import RandomResizedCrop
from kdzoo.errors import ConfigError, UserError

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass
class Part:
    """The training or the test part: images uint8 [N, H, W, C], labels int64 [N]."""

    images: np.ndarray
    labels: np.ndarray


class ArraySource:
    """A data set held in memory; its parts are read when they are first needed.

    Args:
        classes: class names, in the order of the labels.
        read: ``read("train")`` or ``read("test")`` gives that part, whole and checked.
        train_limit: take only a stratified subset of that many training images.
        test_limit: likewise of the test images.
        statistics: mean and standard deviation per channel; counted over the whole training
            part where they are not given.
    """

    def __init__(
        self, classes: list[str], read: Callable[[str], Part],
        train_limit: int | None = None, test_limit: int | None = None, statistics: Statistics | None = None,
    ):
        check_limits(train_limit=train_limit, test_limit=test_limit)
        self.classes = classes
        self._read = cache(read)
        self._limits = {"train": train_limit, "test": test_limit}
        self._statistics = statistics

    @property
    def mean(self) -> tuple[float, ...]:
        return self._moments[0]

    @property
    def std(self) -> tuple[float, ...]:
        return self._moments[1]

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        train, test = (self._read(split).images.shape[1:] for split in ("train", "test"))
        if train != test:
            raise UserError(f"training images are {train} (H, W, C), test images {test}; make them one size")
        height, width, channels = train
        return channels, height, width

    def part(self, split: str) -> Part:
        """The training or test part, after its limit."""
        part = self._read(split)
        kept = stratified(part.labels, self._limits[split])
        return part if len(kept) == len(part.labels) else Part(part.images[kept], part.labels[kept])

    def size(self, split: str) -> int:
        whole, limit = len(self._read(split).labels), self._limits[split]
        return whole if limit is None else min(whole, limit)

    def loader(
        self, split: str, plan: TrainPlan | TestPlan, pipeline: Pipeline, device: torch.device, workers: int,
        second: Pipeline | None = None,
    ) -> MemoryLoader:
        if any(isinstance(step, RandomResizedCrop) for step in pipeline.steps):
            raise ConfigError("RandomResizedCrop is for streamed sets (ImageFolder, ImageNet); use PadCrop", "augment")
        part = self.part(split)
        return MemoryLoader(part.images, part.labels, plan, pipeline, device, second)

    @cached_property
    def _moments(self) -> Statistics:
        if self._statistics is not None:
            return self._statistics
        images = self._read("train").images
        return channel_statistics(images[first : first + 10_000] for first in range(0, len(images), 10_000))


def check_limits(**limits: int | None) -> None:
    """Raise ValueError for a limit below 1."""
    for name, limit in limits.items():
        if limit is not None and limit < 1:
            raise ValueError(f"{name} is {limit}; use 1 or more, or None for all images")
