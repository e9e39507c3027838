"""``evaluation.npz``: the confusion matrix and the most confident mistakes of a finished run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdzoo.report.record import read_arrays


@dataclass(frozen=True)
class Evaluation:
    """What the final evaluation kept of the test set.

    Args:
        confusion: int64 [C, C], images by true class (row) and predicted class (column).
        classes: C names.
        images: uint8 [K, H, W, 1 or 3], the mistakes, the most confident first.
        true: int [K], the class of each.
        predicted: int [K], what the student said.
        confidence: float [K], how sure it was, 0 to 1.
    """

    confusion: np.ndarray
    classes: list[str]
    images: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray


def read_evaluation(file: Path) -> Evaluation:
    """Read and check the file; ValueError says what is wrong with it."""
    names = ("confusion", "classes", "mistakes_images", "mistakes_true", "mistakes_predicted", "mistakes_confidence")
    arrays = read_arrays(file, names)
    confusion, classes, images, true, predicted, confidence = (arrays[name] for name in names)
    if confusion.ndim != 2 or confusion.shape != (len(classes), len(classes)) or confusion.dtype.kind not in "iu":
        raise ValueError(f"expected whole numbers [C, C] for {len(classes)} classes, got {confusion.shape}")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"expected uint8 [K, H, W, 1 or 3] pictures, got {images.dtype} {images.shape}")
    if not len(images) == len(true) == len(predicted) == len(confidence):
        raise ValueError("its lists of mistakes differ in length")
    labels = np.concatenate([true, predicted])
    if len(labels) and (labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(classes)):
        raise ValueError(f"a mistake names a class beyond the {len(classes)} known ones")
    return Evaluation(confusion, [str(name) for name in classes], images, true, predicted, confidence)
