"""Batches from arrays in memory, on the device where they fit."""

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from kdzoo.data.batch import Batch
from kdzoo.data.order import Share, TestPlan, TrainPlan
from kdzoo.data.pipeline import Pipeline, render_views
from kdzoo.data.pixels import upload


class MemoryLoader:
    """A :class:`~kdzoo.data.batch.Loader` over arrays.

    The images stay uint8 and are gathered and augmented batch by batch on the device. Where
    they would fill more than half of a GPU's free memory they stay memory-mapped on the host.

    Args:
        images: [N, H, W, C] uint8.
        labels: [N] int64.
        plan: which images each step takes.
        pipeline: the augmentation.
        device: where batches are put.
        second: the augmentation of a second view.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, plan: TrainPlan | TestPlan, pipeline: Pipeline,
        device: torch.device, second: Pipeline | None = None,
    ):
        self.size, self.views, self.augment_id = len(labels), pipeline.views, pipeline.augment_id
        self.broken: list[str] = []
        self.labels, self._arrays = labels, (images, labels)
        self._plan, self._pipeline, self._second, self._device = plan, pipeline, second, device
        self._labels = torch.from_numpy(labels).to(device)
        store = torch.from_numpy(images)
        self._images = store.to(device) if _fits(images.nbytes, device) else store

    def __len__(self) -> int:
        return len(self._plan)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Batches of an epoch from step ``start`` on."""
        height, width = self._images.shape[1:3]
        for share in self._plan.shares(epoch, start):
            count = len(share.whole)
            draws = self._pipeline.draw(share.rng, count, height, width)
            positions = share.whole[self._pipeline.needed(share.rows, count)]
            target = self._labels.index_select(0, upload(positions, self._device))
            images, target = self._pipeline.apply(self._gather(positions), target, share.rows, count, draws)
            yield Batch(
                images=images, target=target, index=torch.from_numpy(share.whole[share.rows]),
                view=self._pipeline.view(draws, share.rows), weight=share.weight, second=self._second_view(share),
            )

    def render(self, index: Tensor, view: Tensor) -> Tensor:
        """Given views (:attr:`Batch.view`) of given images again: [B], [B] int64 -> [B, C, H, W] float32.

        Raises:
            ValueError: the augmentation has no finite number of views, or a number is out of range.
        """
        return render_views(self._gather(np.asarray(index)), self._pipeline.steps, view)

    def _second_view(self, share: Share) -> Tensor | None:
        """[B, C, H, W] float32; drawn after the first view, which is the same with and without it."""
        if self._second is None:
            return None
        height, width = self._images.shape[1:3]
        draws = self._second.draw(share.rng, len(share.whole), height, width)
        images = self._gather(share.whole[share.rows])
        labels = images.new_zeros(len(images), dtype=torch.int64)  # nothing mixes, so they do not count
        return self._second.apply(images, labels, share.rows, len(share.whole), draws)[0]

    def fingerprint(self, local: bool = False) -> str:
        """SHA-256 of the shape, the images and the labels; ``local`` or not, it is of every pixel."""
        images, labels = self._arrays
        digest = hashlib.sha256(repr(images.shape).encode())
        for first in range(0, len(images), 10_000):
            digest.update(np.ascontiguousarray(images[first : first + 10_000]))
        digest.update(np.ascontiguousarray(labels, dtype="<i8"))
        return digest.hexdigest()

    def _gather(self, positions: np.ndarray) -> Tensor:
        """[B, C, H, W] uint8 on the device, channels_last."""
        rows = upload(positions, self._images.device)
        images = self._images.index_select(0, rows)
        return upload(images, self._device).permute(0, 3, 1, 2)


def _fits(size: int, device: torch.device) -> bool:
    """Whether ``size`` bytes leave at least half of a GPU's free memory to the training."""
    return device.type != "cuda" or size <= torch.cuda.mem_get_info(device)[0] // 2
