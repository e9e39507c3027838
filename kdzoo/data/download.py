"""Make a data set's folder from torchvision's verified download."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np

from kdzoo.data.npy import read_part
from kdzoo.errors import UserError

_TENS = [str(digit) for digit in range(10)]
# Our name -> torchvision's class, and class names where torchvision's are not the plain ones.
DOWNLOADS: dict[str, tuple[str, list[str] | None]] = {
    "cifar10": ("CIFAR10", None),
    "cifar100": ("CIFAR100", None),
    "mnist": ("MNIST", _TENS),
    "kmnist": ("KMNIST", None),
    "svhn": ("SVHN", _TENS),
}
_FILES = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy", "classes.json")


def download_dataset(name: str, root: Path) -> Path | None:
    """Download ``name`` and write ``root/name/{train,test}_{images,labels}.npy`` and ``classes.json``.

    The folder appears whole or not at all. Needs room for the download and the arrays together.

    Args:
        name: one of ``DOWNLOADS``.
        root: the folder of data sets; made where it is missing.

    Returns:
        The new folder, or ``None`` where it was there already.

    Raises:
        UserError: no network, no room, or an unfinished folder of that name.

    Example:
        >>> download_dataset("cifar100", Path("data"))
    """
    folder = root / name
    if folder.exists():
        missing = [file for file in _FILES if not (folder / file).is_file()]
        if missing:
            raise UserError(f"{folder} is there but has no {missing[0]}; move it away and run this again")
        return None
    try:
        root.mkdir(parents=True, exist_ok=True)
        # In the same folder, so that the last step is a rename within one file system.
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as work:
            made = Path(work) / name
            made.mkdir()
            _write(name, Path(work) / "download", made)
            os.replace(made, folder)
    except OSError as error:
        raise UserError(f"{folder} could not be written ({error}); make room there or choose another --root") from error
    return folder


def _write(name: str, cache: Path, folder: Path) -> None:
    classes = DOWNLOADS[name][1]
    for split in ("train", "test"):
        part = _fetch(name, cache, split)
        images = np.asarray(part.data)
        if name == "svhn":
            images = images.transpose(0, 2, 3, 1)  # N x C x H x W on disk
        if images.ndim == 3:
            images = images[..., None]
        labels = part.labels if name == "svhn" else part.targets
        np.save(folder / f"{split}_images.npy", np.ascontiguousarray(images, dtype=np.uint8))
        np.save(folder / f"{split}_labels.npy", np.asarray(labels, dtype=np.int64))
        classes = classes or list(part.classes)
    (folder / "classes.json").write_text(json.dumps(classes), encoding="utf-8")
    for split in ("train", "test"):
        read_part(folder, split, len(classes), "run this again")


def _fetch(name: str, cache: Path, split: str):
    """torchvision's data set object, downloaded and checked by it."""
    from torchvision import datasets

    choose = {"split": split} if name == "svhn" else {"train": split == "train"}
    try:
        return getattr(datasets, DOWNLOADS[name][0])(str(cache), download=True, **choose)
    except (OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        cure = "check the network and the free space and run this again"
        raise UserError(f"{name} could not be downloaded ({reason}); {cure}") from error
