"""The training features of all detectors, extracted once and kept on disk: memory does not grow with the set."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kdzoo.robust.ood.detector import image_batches
from kdzoo.robust.ood.moments import ClassMoments
from kdzoo.robust.ood.taps import LayerReader

_ROWS = 4096


class FeatureFiles:
    """``logits`` [N, C], ``pooled`` [N, D] and labels [N] as memory-mapped .npy files.

    Attributes:
        moments: of the features of every layer asked for, streamed in the same pass.
    """

    def __init__(self, folder: Path):
        self.folder, self.moments = Path(folder), {}

    @classmethod
    @torch.no_grad()
    def extract(
        cls, model: nn.Module, loader, size: int, folder: Path, layers: list[str] | None = None
    ) -> "FeatureFiles":
        """One forward pass over the loader.

        Args:
            model: images in [0, 1] -> logits, in evaluation mode.
            loader: (images, labels) batches.
            size: N.
            folder: where to write; must exist.
            layers: for ``moments``; ``None``: the stages of a kdzoo model.
        """
        files = cls(folder)
        reader = LayerReader(model, layers)
        arrays, start = {}, 0
        for images, labels in image_batches(loader):
            logits, pooled, found = reader.with_pooled(images)
            for name, x in found.items():
                files.moments.setdefault(name, ClassMoments()).update(x, labels)
            for name, x in (("logits", logits), ("pooled", pooled), ("labels", labels)):
                x = x.cpu().numpy()
                if name not in arrays:
                    path = files.folder / f"{name}.npy"
                    arrays[name] = np.lib.format.open_memmap(path, "w+", x.dtype, (size, *x.shape[1:]))
                arrays[name][start : start + len(x)] = x
            start += len(images)
        if start != size:
            raise ValueError(f"the loader gave {start} images, {size} were expected; give size= of the whole set")
        for array in arrays.values():
            array.flush()
        return files

    def batches(self, reads: str) -> Iterator[tuple[Tensor, Tensor]]:
        """(features, labels) a few thousand rows at a time; ``reads`` is "logits" or "pooled"."""
        x, y = (np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in (reads, "labels"))
        for start in range(0, len(y), _ROWS):
            rows = slice(start, start + _ROWS)
            yield torch.from_numpy(np.array(x[rows])), torch.from_numpy(np.array(y[rows]))
