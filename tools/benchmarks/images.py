"""The images both loops train on: CIFAR-100 where it is, else noise of its shape."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdzoo.data.npy import data_root, read_part

CLASSES, TRAIN, TEST = 100, 50_000, 200


@dataclass(frozen=True)
class Images:
    """Training images for the plain loop, and where kdzoo finds the same ones.

    Args:
        label: what they are.
        images: [N, 32, 32, 3] uint8, in memory.
        labels: [N] int64, 100 classes.
        data: the ``data`` of a kdzoo config. Its test part is short: all that reads it is the teacher's scoring.
    """

    label: str
    images: np.ndarray
    labels: np.ndarray
    data: dict


def find_images(root: str | None, limit: int | None, scratch: Path) -> Images:
    """CIFAR-100 from ``root``, KDZOO_DATA or ``data/``; where none of them has it, and no root is named, noise.

    Args:
        root: folder of data sets.
        limit: images wanted; all 50,000 where ``None``.
        scratch: a folder for the noise.
    """
    folder = data_root(root) / "cifar100"
    if not folder.is_dir() and root is None:
        count = TRAIN if limit is None else limit
        write_noise(scratch, "train", count)
        write_noise(scratch, "test", TEST)
        (scratch / "classes.json").write_text(json.dumps([f"class {k}" for k in range(CLASSES)]), encoding="utf-8")
        return read_images("synthetic", scratch, count, dict(type="Npy", path=str(scratch)))
    return read_images("CIFAR-100", folder, limit, dict(type="CIFAR100", root=root, train_limit=limit, test_limit=TEST))


def read_images(label: str, folder: Path, limit: int | None, data: dict) -> Images:
    cure = f"make it with `python tools/download.py --dataset cifar100 --root {folder.parent}`"
    part = read_part(folder, "train", CLASSES, cure)
    return Images(label, np.array(part.images[:limit]), part.labels[:limit], data)


def write_noise(folder: Path, part: str, count: int) -> None:
    rng = np.random.default_rng(count)
    np.save(folder / f"{part}_images.npy", rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))
    np.save(folder / f"{part}_labels.npy", np.arange(count) % CLASSES)
