"""scikit-learn's handwritten digits: real images without a download."""

import numpy as np

from kdzoo.data.arrays import ArraySource, Part
from kdzoo.data.order import stratified
from kdzoo.registry import DATASETS

_TEST_IMAGES = 360


@DATASETS.register()
def Digits(train_limit: int | None = None, test_limit: int | None = None) -> ArraySource:
    """1,797 digits, 8 x 8 grey (Alpaydin and Kaynak, UCI Optical Recognition of Handwritten Digits, 1998).

    scikit-learn ships no split. Ours is fixed: 360 test images, drawn with ``default_rng(0)`` in the
    classes' own proportions, and 1,437 training images, both in scikit-learn's order. Writers are not
    kept apart. Values 0 to 16 become ``round(value * 255 / 16)``.

    Args:
        train_limit: take only a stratified subset of that many training images (always the same).
        test_limit: likewise of the test images.

    Example:
        >>> DATASETS.build(dict(type="Digits", train_limit=200))
    """
    return ArraySource([str(digit) for digit in range(10)], _read, train_limit, test_limit)


def _read(split: str) -> Part:
    from sklearn.datasets import load_digits

    digits = load_digits()
    labels = digits.target.astype(np.int64)
    images = np.rint(digits.images * 255 / 16).astype(np.uint8)[..., None]  # [N, 8, 8, 1]
    test = stratified(labels, _TEST_IMAGES)
    kept = test if split == "test" else np.setdiff1d(np.arange(len(labels)), test)
    return Part(images[kept], labels[kept])
