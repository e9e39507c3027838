"""The sets a detector is tested on: OpenOOD v1.5's near and far split, as far as it is on disk."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.config import Config
from kdzoo.data.npy import data_root
from kdzoo.data.order import TestPlan
from kdzoo.data.pipeline import Pipeline
from kdzoo.errors import ConfigError, did_you_mean
from kdzoo.registry import DATASETS

_KEYS, _KINDS = ("name", "folder", "channels", "size"), ("near", "far")


@dataclass
class OODSet:
    """One set of images the network was not trained for.

    Args:
        name: for tables.
        kind: "near" or "far".
        count: how many images.
        digest: SHA-256 of its images and of how they are converted.
        batches: starts a pass over image batches [B, C, H, W] in [0, 1], of the network's size.
    """

    name: str
    kind: str
    count: int
    digest: str
    batches: Callable[[], Iterator[Tensor]]


def read_sets(
    config: Config,
    root: str | None,
    shape: tuple[int, int, int],
    limit: int | None = None,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
) -> tuple[list[OODSet], list[str]]:
    """The sets of a benchmark config that are on disk.

    Args:
        config: with lists ``near`` and ``far`` of ``dict(name=..., folder=..., channels=None, size=None)``. The
            folder lies below ``root`` and holds test_images.npy and test_labels.npy. ``channels="repeat"``
            makes grey images coloured, ``"mean"`` coloured ones grey; ``size="bilinear"`` resizes (antialiased).
            Without them a set of another shape is refused.
        root: data.root of the run's config; ``None``: KDZOO_DATA or ``data``.
        shape: (C, H, W) the network takes.
        limit: most images of a set, a fixed stratified subset.
        batch_size: images a batch.
        device: where batches are put.

    Returns:
        The sets, and the names of those that are not on disk.

    Raises:
        ConfigError: an unknown key or value, a set of another shape that the config does not convert.

    Example:
        >>> sets, absent = read_sets(Config.from_file("configs/ood/cifar10.py"), None, (3, 32, 32))
    """
    sets, absent = [], []
    for unknown in sorted(config.keys() - set(_KINDS)):
        raise ConfigError(f"unknown {unknown!r}{did_you_mean(unknown, _KINDS)}", unknown, config.file)
    for kind in _KINDS:
        for number, entry in enumerate(config.get(kind, [])):
            place = f"{kind}[{number}]"
            unknown = [key for key in entry if key not in _KEYS]
            if unknown or "folder" not in entry:
                told = f"unknown {unknown[0]!r}{did_you_mean(unknown[0], _KEYS)}" if unknown else "no folder is given"
                raise ConfigError(told, place, config.file)
            name, folder = entry.get("name", entry["folder"]), data_root(root) / entry["folder"]
            if not (folder / "test_images.npy").is_file():
                absent.append(name)
                continue
            source = DATASETS.build(dict(type="Npy", path=str(folder), test_limit=limit), place=place)
            loader = source.loader(
                "test", TestPlan(source.size("test"), batch_size), Pipeline([]), torch.device(device), 0
            )
            found = tuple(next(iter(loader.epoch(0))).images.shape[1:])
            change = conversion(name, found, shape, entry.get("channels"), entry.get("size"), place)
            told = f"{loader.fingerprint()} {found} {tuple(shape)} {entry.get('channels')} {entry.get('size')}"
            digest = hashlib.sha256(told.encode()).hexdigest()
            sets.append(OODSet(name, kind, loader.size, digest, _batches(loader, change)))
    return sets, absent


def _batches(loader, change: Callable[[Tensor], Tensor]) -> Callable[[], Iterator[Tensor]]:
    return lambda: (change(batch.images) for batch in loader.epoch(0))


def conversion(
    name: str, found: Sequence[int], wanted: Sequence[int], channels: str | None, size: str | None, place: str = ""
) -> Callable[[Tensor], Tensor]:
    """A function that brings images of shape ``found`` (C, H, W) to ``wanted``, as far as it is allowed to.

    Raises:
        ConfigError: the shapes differ and the config does not say how to convert, or says it wrongly.
    """
    if channels not in (None, "repeat", "mean") or size not in (None, "bilinear"):
        told = f"channels is None, 'repeat' or 'mean' and size None or 'bilinear', not {channels!r} and {size!r}"
        raise ConfigError(told, place)
    needs, way = [], {(1, 3): "repeat", (3, 1): "mean"}.get((found[0], wanted[0]))
    if found[0] != wanted[0] and way is None:
        told = f"{name} has images of {found[0]} channels, the network takes {wanted[0]}"
        raise ConfigError(f"{told}; only 1 and 3 can be made of each other, so leave the set out", place)
    if way is not None and channels != way:
        needs.append(f"channels={way!r}")
    if tuple(found[1:]) != tuple(wanted[1:]) and size is None:
        needs.append("size='bilinear'")
    if needs:
        shapes = " x ".join(map(str, found)), " x ".join(map(str, wanted))
        told = f"{name} has images {shapes[0]}, the network takes {shapes[1]}; add {', '.join(needs)}"
        raise ConfigError(told, place)

    def convert(images: Tensor) -> Tensor:
        if found[0] != wanted[0]:
            images = images.expand(-1, wanted[0], -1, -1) if channels == "repeat" else images.mean(1, keepdim=True)
        if tuple(found[1:]) != tuple(wanted[1:]):
            images = F.interpolate(images, tuple(wanted[1:]), mode="bilinear", antialias=True).clamp(0, 1)
        return images.contiguous(memory_format=torch.channels_last)

    return convert
