"""A network's features of a whole data set, computed once and kept as memory-mapped arrays."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from kdzoo.data.batch import Loader
from kdzoo.data.order import TestPlan
from kdzoo.data.pipeline import Pipeline
from kdzoo.engine.folder import write_json
from kdzoo.errors import UserError
from kdzoo.models import Classifier, weights_hash
from kdzoo.registry import DATASETS


@dataclass
class Features:
    """Features of one part of a data set.

    Args:
        features: [N, D] float32, memory-mapped and read-only: the classifier's input of every image, in order.
        labels: [N] int64.
    """

    features: np.ndarray
    labels: np.ndarray


def plain_loader(source: Any, split: str, batch_size: int, device: torch.device, workers: int = 4) -> Loader:
    """Every image of a part once, in order, as it is."""
    return source.loader(split, TestPlan(source.size(split), batch_size), Pipeline([]), device, workers)


def extract_set(
    model: Classifier, data: dict, folder: Path, image_size: int | None = None, batch_size: int = 100
) -> tuple[dict[str, Features], list[str]]:
    """Features of the training and the test part of the set a config names, and its class names.

    Args:
        model: on the device to compute on.
        data: ``dict(type="CIFAR10", train_limit=..., ...)``.
        folder: of the cache.
        image_size: side in pixels that images are resized to (bicubic, antialiased); ``None`` leaves them.
        batch_size: images of a step.
    """
    source = DATASETS.build(data, place="data")
    device = next(model.parameters()).device
    parts = {
        split: extract_features(model, plain_loader(source, split, batch_size, device), folder, split, image_size)
        for split in ("train", "test")
    }
    return parts, source.classes


def extract_features(
    model: Classifier, loader: Loader, folder: str | Path, name: str, image_size: int | None = None
) -> Features:
    """Features of all images of a loader that gives them in order; a run that was stopped goes on where it was.

    Writes ``NAME_features.npy``, ``NAME_labels.npy`` and ``NAME.json``. The latter holds how many rows are done and
    what they depend on: the network's weights and normalisation, the images, and their size. Where these differ
    from what is asked for, nothing is reused; nor is what was stopped at another batch size.

    Args:
        model: whose ``outputs(images).pooled`` is wanted; in evaluation mode for the pass.
        loader: a test loader, see :func:`plain_loader`.
        folder: of the cache.
        name: of the part.
        image_size: as in :func:`extract_set`.

    Raises:
        UserError: the folder holds a cache that can't be read.

    Example:
        >>> train = extract_features(model, plain_loader(source, "train", 100, device), "work_dirs/features", "train")
        >>> probe.fit(train.features, train.labels)
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(f"{weights_hash(model)} {loader.fingerprint(local=True)} {image_size}".encode()).hexdigest()
    batch, width = _first(model, loader, image_size)
    done, features, labels = _open(folder, name, key, loader.size, width, batch)
    was_training = model.training
    model.eval()
    try:
        for rows, (pooled, target) in _remaining(model, loader, image_size, done):
            features[done : done + rows], labels[done : done + rows] = pooled.cpu().numpy(), target.cpu().numpy()
            done += rows
            features.flush(), labels.flush()  # the rows are on disk before the record says so
            write_json(folder / f"{name}.json", dict(key=key, done=done, size=loader.size, width=width, batch=batch))
    finally:
        model.train(was_training)
    return Features(
        np.load(folder / f"{name}_features.npy", mmap_mode="r"), np.load(folder / f"{name}_labels.npy", mmap_mode="r")
    )


def _remaining(
    model: Classifier, loader: Loader, image_size: int | None, done: int
) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
    """(rows, (features, labels)) of the batches from row ``done`` on, which is always a whole number of batches."""
    steps = done * len(loader) // loader.size if done < loader.size else len(loader)
    with torch.inference_mode():
        for batch in tqdm(loader.epoch(0, steps), initial=steps, total=len(loader), unit="batch", disable=None):
            pooled = model.outputs(resize(batch.images, image_size)).pooled
            yield len(pooled), (pooled.float(), batch.target)


def _open(folder: Path, name: str, key: str, size: int, width: int, batch: int) -> tuple[int, np.memmap, np.memmap]:
    """Rows that are done, and the arrays: those of the cache where its key is ours, else new ones."""
    record, done = folder / f"{name}.json", 0
    try:
        held = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        # Steps are counted in batches: what was done in those of another size can be used as a whole only.
        if held.get("key") == key and (held["done"] == size or held.get("batch") == batch):
            done = int(held["done"])
    except (ValueError, KeyError, AttributeError, TypeError, OSError) as error:
        raise UserError(f"{record} can't be read ({error}); remove it to extract again") from None
    wanted = (("features", np.float32, (size, width)), ("labels", np.int64, (size,)))
    files = [folder / f"{name}_{part}.npy" for part, _, _ in wanted]
    if not done:
        record.unlink(missing_ok=True)
    try:
        arrays = [
            np.lib.format.open_memmap(file, "r+" if done else "w+", None if done else dtype, None if done else shape)
            for file, (_, dtype, shape) in zip(files, wanted, strict=True)
        ]
    except (ValueError, OSError) as error:
        raise UserError(f"the features beside {record} can't be read ({error}); remove it to extract again") from None
    return done, *arrays


@torch.inference_mode()
def _first(model: Classifier, loader: Loader, image_size: int | None) -> tuple[int, int]:
    """Images of the first batch, and the width of their features."""
    batch = next(iter(loader.epoch(0)))
    was_training = model.training
    width = model.eval().outputs(resize(batch.images[:2], image_size)).pooled.shape[1]
    model.train(was_training)
    return len(batch.images), width


def resize(images: Tensor, size: int | None) -> Tensor:
    """[B, C, H, W] to [B, C, size, size], bicubic and within [0, 1]; as it is for ``None``."""
    if size is None or images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)
