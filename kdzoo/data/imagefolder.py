"""Folders of pictures, streamed by worker processes."""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from kdzoo.data.arrays import Statistics, check_limits
from kdzoo.data.npy import data_root
from kdzoo.data.order import TestPlan, TrainPlan, stratified
from kdzoo.data.pipeline import Pipeline
from kdzoo.data.pixels import channel_statistics
from kdzoo.data.random_resized_crop import RandomResizedCrop
from kdzoo.data.stream import Pictures, StreamLoader
from kdzoo.errors import ConfigError, UserError
from kdzoo.registry import DATASETS

_COUNTED = 1000  # training images that mean and deviation are counted over


@DATASETS.register()
def ImageFolder(
    path: str, size: int = 224, resize: int = 256, channels: int = 3,
    train_limit: int | None = None, test_limit: int | None = None,
) -> "FolderSource":
    """``path/train/CLASS/*.jpg`` and ``path/val/CLASS/*.jpg`` (or ``test`` for ``val``).

    Test images, and training images without RandomResizedCrop, have their shorter side resized to
    ``resize`` and the middle ``size`` x ``size`` cut out. Classes are the folders' names, sorted. Mean and
    deviation are counted over at most 1,000 training images.

    Args:
        path: the folder.
        size: side of an image in pixels (default 224).
        resize: shorter side before the middle is cut out (default 256).
        channels: 3 for colour (default), 1 for grey.
        train_limit: take only a stratified subset of that many training images (always the same).
        test_limit: likewise of the test images.

    Example:
        >>> DATASETS.build(dict(type="ImageFolder", path="data/pets", size=128, resize=144))
    """
    return FolderSource(Path(path).expanduser(), size, resize, channels, train_limit, test_limit)


@DATASETS.register()
def ImageNet(
    root: str | None = None, size: int = 224, resize: int = 256,
    train_limit: int | None = None, test_limit: int | None = None,
) -> "FolderSource":
    """ILSVRC 2012 (Russakovsky et al., IJCV 2015) as an image folder in ``root/imagenet``."""
    statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return FolderSource(data_root(root) / "imagenet", size, resize, 3, train_limit, test_limit, statistics)


class FolderSource:
    """A streamed data set; arguments as of :func:`ImageFolder`, ``statistics`` as of ArraySource."""

    def __init__(
        self, folder: Path, size: int, resize: int, channels: int,
        train_limit: int | None, test_limit: int | None, statistics: Statistics | None = None,
    ):
        check_limits(train_limit=train_limit, test_limit=test_limit)
        if channels not in (1, 3):
            raise ValueError(f"channels is {channels}; use 1 (grey) or 3 (colour)")
        if not 1 <= size <= resize:
            raise ValueError(f"size is {size} and resize {resize}; use 1 <= size <= resize")
        test = folder / "test" if (folder / "test").is_dir() and not (folder / "val").is_dir() else folder / "val"
        self._files = {"train": _list_files(folder / "train"), "test": _list_files(test)}
        self.classes, found = self._files["train"][2], self._files["test"][2]
        if self.classes != found:
            odd = sorted(set(self.classes) ^ set(found))
            raise UserError(f"{folder}: train and {test.name} hold different classes (such as {odd[0]!r}); mend that")
        self.shape = (channels, size, size)
        self._resize, self._statistics = resize, statistics
        self._limits = {"train": train_limit, "test": test_limit}

    @property
    def mean(self) -> tuple[float, ...]:
        return self._moments[0]

    @property
    def std(self) -> tuple[float, ...]:
        return self._moments[1]

    def size(self, split: str) -> int:
        whole, limit = len(self._files[split][0]), self._limits[split]
        return whole if limit is None else min(whole, limit)

    def loader(
        self, split: str, plan: TrainPlan | TestPlan, pipeline: Pipeline, device: torch.device, workers: int,
        second: Pipeline | None = None,
    ) -> StreamLoader:
        if second is not None:
            raise ConfigError("a second view is for sets in memory; streamed pictures have one", "augment_second")
        steps, crop = pipeline.steps, None
        if steps and isinstance(steps[0], RandomResizedCrop):
            crop, steps = steps[0], steps[1:]
        for place, step in enumerate(pipeline.steps):
            if place and isinstance(step, RandomResizedCrop):
                raise ConfigError("RandomResizedCrop has to be the first augmentation", f"augment[{place}]")
        return StreamLoader(self._pictures(split, self._limits[split], crop), plan, Pipeline(steps), device, workers)

    def _pictures(self, split: str, limit: int | None, crop: RandomResizedCrop | None = None) -> Pictures:
        paths, labels, _ = self._files[split]
        kept = stratified(labels, limit)
        return Pictures([paths[i] for i in kept], labels[kept], self.shape, self._resize, crop)

    @cached_property
    def _moments(self) -> Statistics:
        if self._statistics is not None:
            return self._statistics
        pictures = self._pictures("train", _COUNTED)
        images = (pictures[i, 0].image for i in range(len(pictures)))
        try:
            return channel_statistics(image.permute(1, 2, 0).numpy() for image in images if image is not None)
        except ValueError:
            train = Path(pictures.paths[0]).parents[1]
            raise UserError(f"{train}: no picture could be read, such as {pictures.paths[0]}") from None


def _list_files(folder: Path) -> tuple[list[str], np.ndarray, list[str]]:
    """Paths, labels [N] int64 and class names of one part."""
    from torchvision.datasets import ImageFolder as Listing

    try:
        listing = Listing(str(folder))
    except OSError as error:
        raise UserError(
            f"{folder.absolute()} is no folder of pictures ({str(error).splitlines()[0]}); "
            "put them there as CLASS/NAME.jpg, or point the config's data to where they are"
        ) from None
    paths, labels = zip(*listing.samples, strict=True)
    return list(paths), np.array(labels, dtype=np.int64), listing.classes
