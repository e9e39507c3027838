"""Batches from picture files, decoded by worker processes."""

import hashlib
import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kdzoo.data.batch import Batch
from kdzoo.data.order import Share, TestPlan, TrainPlan
from kdzoo.data.pipeline import Pipeline
from kdzoo.data.pixels import upload
from kdzoo.data.random_resized_crop import RandomResizedCrop
from kdzoo.errors import UserError

logger = logging.getLogger(__name__)


@dataclass
class Decoded:
    """One file: image uint8 [C, H, W] or ``None`` with the reason."""

    image: Tensor | None
    label: int
    path: str
    reason: str = ""


class Pictures(Dataset):
    """Picture files as uint8 tensors of one size.

    ``pictures[position, seed]`` gives a :class:`Decoded`; ``seed`` chooses the random crop.

    Args:
        paths: of the files.
        labels: [N] int64.
        shape: (C, H, W) of the images; 1 channel is grey.
        resize: shorter side before the middle is cut out, where there is no random crop.
        crop: the random crop.
    """

    def __init__(
        self, paths: list[str], labels: np.ndarray, shape: tuple[int, int, int], resize: int,
        crop: RandomResizedCrop | None = None,
    ):
        self.paths, self.labels, self.shape, self.resize, self.crop = paths, labels, shape, resize, crop

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, request: tuple[int, int]) -> Decoded:
        position, seed = request
        path, label = self.paths[position], int(self.labels[position])
        try:
            picture = self._decode(path)
        except Exception as error:  # decoders raise all sorts of types for a damaged file
            return Decoded(None, label, path, f"{type(error).__name__}: {error}")
        return Decoded(self._cut(picture, seed), label, path)

    def _decode(self, path: str) -> Any:
        from PIL import Image

        with Image.open(path) as file:
            return file.convert("L" if self.shape[0] == 1 else "RGB")

    def _cut(self, picture: Any, seed: int) -> Tensor:
        from torchvision.transforms.v2 import functional as TF

        size = self.shape[-1]
        if self.crop is not None:
            picture = self.crop.crop(picture, size, seed)
        else:
            picture = TF.center_crop(TF.resize(picture, [self.resize], antialias=True), [size, size])
        return TF.pil_to_tensor(picture)


class StreamLoader:
    """A :class:`~kdzoo.data.batch.Loader` over picture files.

    Workers decode and crop to uint8; the other augmentations run on the device. Mixup and CutMix take
    their partners within the process, so with them the number of processes changes the images.
    A file that cannot be read is named in a warning, entered in ``broken`` and left out of its batch.

    Args:
        pictures: the files.
        plan: which images each step takes.
        pipeline: the augmentation on the device.
        device: where batches are put.
        workers: worker processes, at most one a core; 0 decodes in this one.
    """

    def __init__(
        self, pictures: Pictures, plan: TrainPlan | TestPlan, pipeline: Pipeline, device: torch.device, workers: int
    ):
        self.size, self.labels, self.broken = len(pictures), pictures.labels, []
        self.views = pipeline.views if pictures.crop is None else None
        cut = repr(pictures.crop) if pictures.crop else f"Resize({pictures.resize}) + CenterCrop({pictures.shape[-1]})"
        self.augment_id = f"{cut} + {pipeline.augment_id}" if pipeline.steps else cut
        self._pictures, self._plan, self._pipeline, self._device = pictures, plan, pipeline, device
        self._requests = _Requests(plan, pictures.crop)
        self._loader = DataLoader(
            pictures, batch_sampler=self._requests, num_workers=min(workers, os.cpu_count() or 1), collate_fn=_collate,
            pin_memory=device.type == "cuda", persistent_workers=workers > 0 and isinstance(plan, TrainPlan),
            generator=torch.Generator(),  # leaves the caller's random numbers as they were
            worker_init_fn=_ignore_interrupts,
        )

    def __len__(self) -> int:
        return len(self._plan)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Batches of an epoch from step ``start`` on."""
        self._requests.epoch, self._requests.start = epoch, start
        for share, decoded in zip(self._plan.shares(epoch, start), self._loader, strict=True):
            self._report(decoded.broken)
            if len(decoded.kept):
                yield self._batch(share, decoded)
            elif isinstance(self._plan, TrainPlan):
                raise UserError(
                    f"no image of a whole batch could be read, such as {decoded.broken[0][0]}; is the disk still there?"
                )

    def fingerprint(self, local: bool = False) -> str:
        """SHA-256 of the files' names, sizes and labels (reading them all would take too long).

        Args:
            local: of the times they were written, too, which are this machine's: bitmaps of one format are all of
                one size, and what is kept of their pixels must not outlive them.
        """
        digest = hashlib.sha256(repr((self._pictures.shape, self._pictures.resize)).encode())
        for path, label in zip(self._pictures.paths, self._pictures.labels, strict=True):
            file = Path(path)
            facts = file.stat()
            written = f" {facts.st_mtime_ns}" if local else ""
            digest.update(f"{file.parent.name}/{file.name} {facts.st_size} {label}{written}\n".encode())
        return digest.hexdigest()

    def _batch(self, share: Share, decoded: "_Collated") -> Batch:
        count, (_, height, width) = len(share.whole), self._pictures.shape
        rows = share.rows[decoded.kept]
        if self._pictures.crop is not None:
            self._pictures.crop.draw(share.rng, count, height, width)  # the workers' draws come first
        draws = self._pipeline.draw(share.rng, count, height, width)
        view = None if self.views is None else self._pipeline.view(draws, rows)
        # From here on the batch is what this process holds.
        mine = [draw if getattr(step, "mixes", False) else draw[rows]
                for step, draw in zip(self._pipeline.steps, draws, strict=True)]
        images = upload(decoded.images, self._device).contiguous(memory_format=torch.channels_last)
        target = upload(decoded.labels, self._device)
        images, target = self._pipeline.apply(images, target, np.arange(len(rows)), len(rows), mine)
        weight = share.weight * len(rows) / len(share.rows)
        return Batch(images, target, torch.from_numpy(share.whole[rows]), view, weight)

    def _report(self, broken: list[tuple[str, str]]) -> None:
        for path, reason in broken:
            if path not in self.broken:
                self.broken.append(path)
                logger.warning("%s cannot be read and is left out (%s)", path, reason)


def _ignore_interrupts(worker: int) -> None:
    """A terminal sends Ctrl-C to every process; the one that trains saves first, and ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Requests:
    """What the workers are asked for: for each step a list of (position, crop seed)."""

    def __init__(self, plan: TrainPlan | TestPlan, crop: RandomResizedCrop | None):
        self.plan, self.crop, self.epoch, self.start = plan, crop, 0, 0

    def __len__(self) -> int:
        return len(self.plan) - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for share in self.plan.shares(self.epoch, self.start):
            count = len(share.whole)
            seeds = np.zeros(count, np.int64) if self.crop is None else self.crop.draw(share.rng, count, 0, 0)
            yield list(zip(share.whole[share.rows].tolist(), seeds[share.rows].tolist(), strict=True))


@dataclass
class _Collated:
    """A batch as the workers made it: the files that could be read, and those that could not."""

    images: Tensor  # [B, C, H, W] uint8
    labels: Tensor  # [B] int64
    kept: np.ndarray  # [B], their places in the request
    broken: list[tuple[str, str]]  # path, reason

    def pin_memory(self) -> "_Collated":
        return _Collated(self.images.pin_memory(), self.labels.pin_memory(), self.kept, self.broken)


def _collate(items: list[Decoded]) -> _Collated:
    kept = [place for place, item in enumerate(items) if item.image is not None]
    images = [items[place].image for place in kept]
    return _Collated(
        images=torch.stack(images) if images else torch.empty(0),
        labels=torch.tensor([items[place].label for place in kept], dtype=torch.int64),
        kept=np.array(kept, dtype=np.int64),
        broken=[(item.path, item.reason) for item in items if item.image is None],
    )
