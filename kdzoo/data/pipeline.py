"""Augmentations in the order listed, on batches, with all draws made beforehand on the CPU.

An augmentation of single images has

- ``views``: how many outcomes it has, or ``None`` where they are unbounded,
- ``draw(rng, count, height, width)``: an array [count, ...]; where ``views`` is a number, the
  outcome of each image as an integer below it,
- ``apply(images, draws)``: [B, C, H, W] uint8 (float after Mixup), new tensor of the same shape.

A mixing augmentation (``mixes = True``) draws one value a batch and has
``apply(images, partners, target, partner_targets, draw) -> images, target``. The partner of
row i is row i + 1 of the global batch (the last one's is the first): the order is shuffled
already, so this is a random partner that is never the image itself, and a process needs
only one image beyond its own.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kdzoo.data.pixels import pick, to_float, upload


class Pipeline:
    """A list of augmentations as one.

    Args:
        steps: augmentations, first to last.
    """

    def __init__(self, steps: Sequence):
        self.steps = list(steps)
        self.augment_id = " + ".join(repr(step) for step in self.steps) or "none"
        self.views: int | None = 1
        for step in self.steps:
            self.views = None if self.views is None or step.views is None else self.views * step.views

    def draw(self, rng: np.random.Generator, count: int, height: int, width: int) -> list:
        """The draws of every step for a global batch of ``count`` images."""
        return [step.draw(rng, count, height, width) for step in self.steps]

    def view(self, draws: list, rows: np.ndarray) -> Tensor | None:
        """[B] int64, the view numbers of these rows; ``None`` where views are unbounded."""
        if self.views is None:
            return None
        number = np.zeros(len(rows), dtype=np.int64)
        for step, draw in zip(self.steps, draws, strict=True):
            number = number * step.views + draw[rows]
        return torch.from_numpy(number)

    def needed(self, rows: np.ndarray, count: int) -> np.ndarray:
        """The rows that have to be loaded to make ``rows``: themselves and their mixing partners."""
        return self._levels(rows, count)[0]

    def apply(
        self, images: Tensor, target: Tensor, rows: np.ndarray, count: int, draws: list
    ) -> tuple[Tensor, Tensor]:
        """Augment.

        Args:
            images: [N, C, H, W] uint8, the rows ``needed(rows, count)`` of the batch.
            target: [N] int64.
            rows: [B], the rows wanted.
            count: images of the batch that rows are counted in.
            draws: of ``draw``, for that batch.

        Returns:
            images [B, C, H, W] float32 in [0, 1], target [B] int64 or [B, K] float32.
        """
        levels = self._levels(rows, count)
        for step, draw, have, want in zip(self.steps, draws, levels, levels[1:], strict=False):
            if getattr(step, "mixes", False):
                own = upload(np.searchsorted(have, want), images.device)
                partner = upload(np.searchsorted(have, (want + 1) % count), images.device)
                images, target = step.apply(
                    pick(images, own), pick(images, partner), target[own], target[partner], draw
                )
            else:
                images = step.apply(images, draw[have])
        return to_float(images), target

    def _levels(self, rows: np.ndarray, count: int) -> list[np.ndarray]:
        """The rows held before each step, and ``rows`` after the last."""
        levels = [rows]
        for step in reversed(self.steps):
            held = levels[-1]
            levels.append(np.union1d(held, (held + 1) % count) if getattr(step, "mixes", False) else held)
        return levels[::-1]


def render_views(images: Tensor, steps: Sequence, view: Tensor | np.ndarray) -> Tensor:
    """Make given views of given images, as training sees them.

    Args:
        images: [B, C, H, W] uint8.
        steps: augmentations with a finite number of views, as in the loader's pipeline.
        view: [B] int64, a view number for each image (``Batch.view``).

    Returns:
        [B, C, H, W] float32 in [0, 1], channels_last.

    Raises:
        ValueError: the steps have no finite number of views, or a number is out of range.

    Example:
        >>> render_views(images, [PadCrop(4), Flip()], torch.arange(162))     # all views of 162 images
    """
    pipeline = Pipeline(steps)
    if pipeline.views is None:
        raise ValueError(f"{pipeline.augment_id} has no finite number of views to choose from")
    rest = np.asarray(view, dtype=np.int64)
    if rest.size and not (0 <= rest.min() and rest.max() < pipeline.views):
        raise ValueError(f"a view number lies outside 0..{pipeline.views - 1}")
    draws = []
    for step in reversed(pipeline.steps):
        rest, draw = np.divmod(rest, step.views)
        draws.append(draw)
    for step, draw in zip(pipeline.steps, reversed(draws), strict=True):
        images = step.apply(images, draw)
    return to_float(images)
