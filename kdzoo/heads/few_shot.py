"""Few-shot splits: exactly k samples of every class, with a seed."""

import numpy as np


def k_shot(labels: np.ndarray, shots: int, seed: int = 0) -> np.ndarray:
    """Rows of ``shots`` samples of each class, drawn without replacement; class by class, in the draw's order.

    A class's draw depends on the seed and on its own rows only, and the draws are nested: the first samples of 16 are
    those of 1, 2, 4 and 8 with the same seed.

    Args:
        labels: [N].
        shots: k, 1 or more.
        seed: 0 or more.

    Raises:
        ValueError: ``shots`` is below 1, ``seed`` below 0, or a class has fewer samples.

    Example:
        >>> rows = k_shot(labels, 16, seed=1)
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels):
        raise ValueError(f"labels must be a list of at least one class, got shape {labels.shape}")
    if shots < 1 or seed < 0:
        raise ValueError(f"shots must be 1 or more and seed 0 or more, got {shots} and {seed}")
    rows = []
    for number, label in enumerate(np.unique(labels)):
        own = np.flatnonzero(labels == label)
        if len(own) < shots:
            raise ValueError(f"shots is {shots}, but class {label} has {len(own)} samples; use fewer")
        rows.append(np.random.default_rng([seed, number]).permutation(own)[:shots])
    return np.concatenate(rows)


def few_shot_split(labels: np.ndarray, shots: int, seed: int = 0, validation: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on (``shots`` a class) and rows to choose by (``min(shots, validation)`` a class), without overlap.

    As in CoOp's splits the validation part has at most 4 a class, so that choosing costs no more labels than training.

    Raises:
        ValueError: as :func:`k_shot`, for both parts together.
    """
    each = shots + min(shots, validation)
    drawn = k_shot(labels, each, seed).reshape(-1, each)
    return drawn[:, :shots].ravel(), drawn[:, shots:].ravel()
