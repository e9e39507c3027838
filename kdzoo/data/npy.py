"""Folders of NumPy arrays: ``{train,test}_{images,labels}.npy`` and ``classes.json``."""

import json
import os
from pathlib import Path

import numpy as np

from kdzoo.data.arrays import ArraySource, Part, Statistics
from kdzoo.errors import UserError
from kdzoo.registry import DATASETS


@DATASETS.register()
def Npy(path: str, train_limit: int | None = None, test_limit: int | None = None) -> ArraySource:
    """Any such folder.

    Args:
        path: the folder. Images are uint8 [N, H, W, C], labels integers [N], ``classes.json``
            a list of names.
        train_limit: take only a stratified subset of that many training images (always the same).
        test_limit: likewise of the test images.

    Example:
        >>> DATASETS.build(dict(type="Npy", path="data/svhn"))
    """
    return _source(Path(path).expanduser(), "put the arrays there or mend data.path", train_limit, test_limit)


@DATASETS.register()
def MNIST(root: str | None = None, train_limit: int | None = None, test_limit: int | None = None) -> ArraySource:
    """Handwritten digits, 28 x 28 grey (LeCun et al., 1998), from ``root/mnist``."""
    return _known("mnist", root, train_limit, test_limit, ((0.1307,), (0.3081,)))


@DATASETS.register()
def KMNIST(root: str | None = None, train_limit: int | None = None, test_limit: int | None = None) -> ArraySource:
    """Kuzushiji characters, 28 x 28 grey (Clanuwat et al., 2018), from ``root/kmnist``."""
    return _known("kmnist", root, train_limit, test_limit, ((0.1918,), (0.3483,)))


@DATASETS.register()
def CIFAR10(root: str | None = None, train_limit: int | None = None, test_limit: int | None = None) -> ArraySource:
    """10 classes of 32 x 32 photographs (Krizhevsky, 2009), from ``root/cifar10``."""
    statistics = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    return _known("cifar10", root, train_limit, test_limit, statistics)


@DATASETS.register()
def CIFAR100(root: str | None = None, train_limit: int | None = None, test_limit: int | None = None) -> ArraySource:
    """100 classes of 32 x 32 photographs (Krizhevsky, 2009), from ``root/cifar100``."""
    statistics = ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
    return _known("cifar100", root, train_limit, test_limit, statistics)


@DATASETS.register()
def SVHN(root: str | None = None, train_limit: int | None = None, test_limit: int | None = None) -> ArraySource:
    """House numbers, 32 x 32 (Netzer et al., 2011), from ``root/svhn``."""
    statistics = ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))
    return _known("svhn", root, train_limit, test_limit, statistics)


def data_root(root: str | None) -> Path:
    """The config's ``root``, else the environment's KDZOO_DATA, else ``data``."""
    return Path(root or os.environ.get("KDZOO_DATA") or "data").expanduser()


def _known(
    name: str, root: str | None, train_limit: int | None, test_limit: int | None, statistics: Statistics
) -> ArraySource:
    folder = data_root(root)
    command = f"python tools/download.py --dataset {name}"
    if folder != Path("data"):
        command += f" --root {folder}"
    cure = f"make it with `{command}`, or set data.root or KDZOO_DATA to the folder that holds {name}/"
    return _source(folder / name, cure, train_limit, test_limit, statistics)


def _source(
    folder: Path, cure: str, train_limit: int | None, test_limit: int | None, statistics: Statistics | None = None
) -> ArraySource:
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder.absolute()}; {cure}")
    classes = _read_classes(folder / "classes.json", cure)

    def read(split: str) -> Part:
        return read_part(folder, split, len(classes), cure)

    return ArraySource(classes, read, train_limit, test_limit, statistics)


def _read_classes(file: Path, cure: str) -> list[str]:
    if not file.is_file():
        raise UserError(f"{file} is missing; {cure}")
    try:
        classes = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}); write a list of class names") from None
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise UserError(f"{file} holds no list of class names; write one, say [\"cat\", \"dog\"]")
    return classes


def read_part(folder: Path, split: str, num_classes: int, cure: str) -> Part:
    """Read and check ``SPLIT_images.npy`` (memory-mapped) and ``SPLIT_labels.npy``.

    Raises:
        UserError: a file is missing or damaged, or what it holds is no data set.
    """
    image_file, label_file = folder / f"{split}_images.npy", folder / f"{split}_labels.npy"
    images, labels = _load(image_file, cure, "c"), _load(label_file, cure)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UserError(f"{image_file} holds {images.dtype} {images.shape}; expected uint8 (N, H, W, C)")
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise UserError(f"{label_file} holds {labels.dtype} {labels.shape}; expected integers (N,)")
    if not images.size:
        raise UserError(f"{image_file} holds no image (its shape is {images.shape}); {cure}")
    if len(images) != len(labels):
        raise UserError(f"{image_file} has {len(images)} images, {label_file} {len(labels)} labels; make them match")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise UserError(
            f"{label_file} has labels from {labels.min()} to {labels.max()}; "
            f"with {num_classes} names in classes.json they must lie in 0..{num_classes - 1}"
        )
    return Part(images, labels.astype(np.int64))


def _load(file: Path, cure: str, mmap_mode: str | None = None) -> np.ndarray:
    """An array without pickled objects; mode "c" maps the file and never writes to it."""
    if not file.is_file():
        raise UserError(f"{file.absolute()} is missing; {cure}")
    try:
        return np.load(file, mmap_mode=mmap_mode, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{file} cannot be read ({error}); {cure}") from None
