"""The published corrupted sets on disk: CIFAR-10-C and CIFAR-100-C (NumPy files), ImageNet-C (folders of pictures)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdzoo.data.order import stratified
from kdzoo.errors import UserError
from kdzoo.robust.corruptions.table import SEVERITIES

Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class CifarC:
    """CIFAR-10-C or CIFAR-100-C: ``NAME.npy`` uint8 [5 M, H, W, 3], severity after severity, and ``labels.npy`` [5 M].

    Args:
        folder: as unpacked.
        shape: (C, H, W) of the network's images.
        num_classes: labels have to lie below it.
        limit: most images of each severity, a fixed stratified subset.

    Raises:
        UserError: reading a file that is missing or malformed.

    Example:
        >>> for images, target in CifarC(Path("data/CIFAR-10-C"), (3, 32, 32), 10).batches("fog", 3, "cpu"): ...
    """

    folder: Path
    shape: tuple[int, int, int]
    num_classes: int
    limit: int | None = None

    def names(self) -> list[str]:
        """The corruptions on disk."""
        return sorted(file.stem for file in self.folder.glob("*.npy") if file.stem != "labels")

    def batches(self, name: str, severity: int, device: torch.device | str, size: int = 256) -> Batches:
        """Images [B, C, H, W] float32 in [0, 1] and labels [B] int64."""
        images, labels = self._read(name)
        count = len(labels) // 5
        rows = slice((severity - 1) * count, severity * count)
        images, labels = images[rows], labels[rows].astype(np.int64)
        kept = stratified(labels, self.limit)
        for first in range(0, len(kept), size):
            part = kept[first : first + size]
            pixels = torch.from_numpy(np.ascontiguousarray(images[part])).to(device)
            yield pixels.permute(0, 3, 1, 2).float() / 255, torch.from_numpy(labels[part]).to(device)

    def _read(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        file, label_file = self.folder / f"{name}.npy", self.folder / "labels.npy"
        images, labels = _load(file), _load(label_file)
        channels, height, width = self.shape
        if images.dtype != np.uint8 or images.shape[1:] != (height, width, channels) or len(images) % 5:
            told = f"uint8 [5 * images, {height}, {width}, {channels}]"
            raise UserError(f"{file} holds {images.dtype} {images.shape}; expected {told}, the severities in order")
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise UserError(
                f"{label_file} holds {labels.dtype} {labels.shape}; expected {len(images)} integers, as {file.name}"
            )
        if not len(labels) or labels.min() < 0 or labels.max() >= self.num_classes:
            raise UserError(f"{label_file} has labels outside 0..{self.num_classes - 1}; it is of another data set")
        return images, labels


def _load(file: Path) -> np.ndarray:
    if not file.is_file():
        raise UserError(f"{file} is missing; unpack the published archive there, or use --source generated")
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{file} cannot be read ({error}); unpack the published archive again") from None


@dataclass(frozen=True)
class ImageNetC:
    """ImageNet-C: ``CORRUPTION/SEVERITY/wnid/*.JPEG``, 224 x 224.

    Args:
        folder: as unpacked, without the archives' upper folders (noise, blur, ...).
        shape: (C, H, W) of the network's images; larger pictures are cut in the middle, smaller ones resized.
        classes: folder names in the order of the labels.
        limit: most images of each severity, a fixed stratified subset.

    Raises:
        UserError: reading a folder that is missing, empty, or holds other classes.
    """

    folder: Path
    shape: tuple[int, int, int]
    classes: Sequence[str]
    limit: int | None = None

    def names(self) -> list[str]:
        """The corruptions on disk."""
        return sorted(part.name for part in self.folder.iterdir() if part.is_dir() and (part / "1").is_dir())

    def batches(self, name: str, severity: int, device: torch.device | str, size: int = 64) -> Batches:
        """Images [B, C, H, W] float32 in [0, 1] and labels [B] int64."""
        paths, labels = self._list(name, severity)
        kept = stratified(labels, self.limit)
        for first in range(0, len(kept), size):
            part = kept[first : first + size]
            images = torch.stack([self._picture(paths[row]) for row in part])
            yield images.to(device).float() / 255, torch.from_numpy(labels[part]).to(device)

    def _list(self, name: str, severity: int) -> tuple[list[Path], np.ndarray]:
        place = self.folder / name / str(severity)
        if not place.is_dir():
            raise UserError(f"{place} is missing; unpack the published archive there, or use --source generated")
        number = {wnid: label for label, wnid in enumerate(self.classes)}
        paths, labels = [], []
        for folder in sorted(part for part in place.iterdir() if part.is_dir()):
            if folder.name not in number:
                raise UserError(f"{place} holds the class {folder.name!r}, which the network's data does not have")
            found = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".jpeg", ".jpg", ".png"))
            paths += found
            labels += [number[folder.name]] * len(found)
        if not paths:
            raise UserError(f"{place} holds no picture; expected wnid/*.JPEG, as in the published archive")
        return paths, np.array(labels, dtype=np.int64)

    def _picture(self, file: Path) -> Tensor:
        """[C, H, W] uint8."""
        from PIL import Image, ImageOps

        channels, height, width = self.shape
        try:
            with Image.open(file) as opened:
                picture = opened.convert("RGB" if channels == 3 else "L")
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error}); unpack the published archive again") from None
        if picture.width < width or picture.height < height:
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        pixels = np.asarray(picture.crop((left, top, left + width, top + height)))
        return torch.from_numpy(pixels.reshape(height, width, channels).copy()).permute(2, 0, 1)


def check_severities(severities: Sequence[int]) -> list[int]:
    """Sorted and unique; UserError where one is not 1 to 5."""
    wrong = [severity for severity in severities if severity not in SEVERITIES]
    if wrong or not severities:
        raise UserError(f"--severities has {wrong[0] if wrong else 'nothing'}; use 1, 2, 3, 4 and 5")
    return sorted(set(severities))
