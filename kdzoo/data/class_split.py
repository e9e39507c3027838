"""Some classes to train on, the others kept back: for novel-class and open-set protocols."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from kdzoo.data.arrays import ArraySource, Part
from kdzoo.registry import DATASETS


@DATASETS.register()
def ClassSplit(
    source: dict,
    seen: int | list,
    part: Literal["seen", "novel", "all"] = "seen",
    seed: int | None = None,
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> ArraySource:
    """A set of arrays with its classes parted into seen and novel ones.

    Labels are numbered anew: the seen classes first, in the split's order, then (``part="all"``) the novel ones, so
    that a label means the same in ``"seen"`` and ``"all"``; ``"novel"`` alone counts from 0.

    Args:
        source: an in-memory set, ``dict(type="CIFAR100")``.
        seen: how many classes are trained on, or which (a list of their labels in ``source``).
        part: which classes the set has.
        seed: draws the seen classes; ``None`` takes the first ones. A list needs no seed.
        train_limit: take only a stratified subset of that many training images (of this part).
        test_limit: likewise of the test images.

    Raises:
        ValueError: not at least two seen classes and one novel class, or a source that is not in memory.

    Example:
        >>> DATASETS.build(dict(type="ClassSplit", source=dict(type="MNIST"), seen=7))
    """
    whole = DATASETS.build(source, place="data.source")
    if not isinstance(whole, ArraySource):
        raise ValueError(f"source must be an in-memory set, {source.get('type')!r} is streamed; use one of arrays")
    order, count = split_classes(len(whole.classes), seen, seed)
    chosen = dict(seen=order[:count], novel=order[count:], all=order)[part]

    def read(split: str) -> Part:
        images = whole.part(split)
        number = np.full(len(whole.classes), -1)
        number[chosen] = np.arange(len(chosen))
        labels = number[images.labels]
        rows = np.flatnonzero(labels >= 0)
        return Part(images.images[rows], labels[rows])

    # Normalisation is the source's: the network must not know which classes it will meet.
    statistics = (whole.mean, whole.std)
    return ArraySource([whole.classes[k] for k in chosen], read, train_limit, test_limit, statistics)


def split_classes(classes: int, seen: int | list, seed: int | None) -> tuple[list[int], int]:
    """Labels of the source in the split's order, and how many of them, from the first, are seen."""
    if isinstance(seen, (list, tuple)):
        first = [int(k) for k in seen]
        if len(set(first)) != len(first) or not all(0 <= k < classes for k in first):
            raise ValueError(f"seen must hold different labels 0 to {classes - 1}, got {list(seen)}")
        order = first + [k for k in range(classes) if k not in set(first)]
        count = len(first)
    else:
        order = list(range(classes)) if seed is None else np.random.default_rng(seed).permutation(classes).tolist()
        count = seen
    if not 2 <= count < classes:
        raise ValueError(f"seen must be at least 2 and below {classes} (the source's classes), got {count}")
    return order, count


def as_all(data: Mapping[str, Any]) -> dict[str, Any]:
    """The same split's ``data`` with all classes and no limits."""
    kept = {key: value for key, value in data.items() if key not in ("train_limit", "test_limit")}
    return dict(kept, part="all")
