"""``autoattack_NORM.npz`` and ``union.npz``: bars and pictures for the report page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdzoo.files import atomic_path
from kdzoo.robust.attacks.autoattack.result import AutoAttackResult

PICTURES = 8  # a norm


def write_record(
    path: str | Path,
    results: Sequence[AutoAttackResult],
    images: Tensor,
    classes: Sequence[str],
    union: float | None = None,
) -> None:
    """Write the file.

    Arrays, for K norms: ``norms``, ``eps`` and ``versions`` [K], ``count`` (images), ``union`` (NaN without one),
    ``stage_norm``, ``stage`` and ``robust`` [S] (robust accuracy after each attack of each norm), and of M pictures
    ``original``, ``adversarial`` and ``change`` uint8 [M, H, W, C], ``magnified`` [M] (how much ``change`` shows),
    ``picture_norm``, ``picture_true``, ``picture_said`` and ``picture_attack`` [M].

    Args:
        path: the file.
        results: of one model on the same images.
        images: [N, C, H, W] in [0, 1].
        classes: names.
        union: robust accuracy in every norm at once.
    """
    stages = [(result.norm, name, share) for result in results for name, share in result.after.items()]
    arrays = dict(
        norms=np.array([result.norm for result in results]),
        eps=np.array([result.eps for result in results]),
        versions=np.array([result.version for result in results]),
        count=np.array(len(images)),
        union=np.array(np.nan if union is None else union),
        stage_norm=np.array([stage[0] for stage in stages]),
        stage=np.array([stage[1] for stage in stages]),
        robust=np.array([stage[2] for stage in stages]),
    )
    arrays |= _pictures(results, images, classes)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def _pictures(results: Sequence[AutoAttackResult], images: Tensor, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Original, adversarial image and their difference around grey, of the first broken images of each norm."""
    found: dict[str, list] = {
        name: []
        for name in ("original", "adversarial", "change", "magnified", "picture_norm", "picture_true", "picture_said",
                     "picture_attack")
    }  # fmt: skip
    for result in results:
        for row in sorted(result.adversarial)[:PICTURES]:
            before, after = images[row].float().cpu(), result.adversarial[row]
            factor = 0.5 / max(float((after - before).abs().max()), 1e-6)
            shown = (before, after, 0.5 + factor * (after - before))
            for name, picture in zip(("original", "adversarial", "change"), shown, strict=True):
                found[name].append(_bytes(picture))
            found["magnified"].append(factor)
            found["picture_norm"].append(result.norm)
            found["picture_true"].append(classes[int(result.target[row])])
            found["picture_said"].append(classes[int(result.predicted[row])])
            found["picture_attack"].append(result.attacks[int(result.broken_by[row]) - 1])
    channels, height, width = images.shape[1:]
    empty = np.zeros((0, height, width, channels), dtype=np.uint8)
    pictures = {name: np.stack(found[name]) if found[name] else empty for name in ("original", "adversarial", "change")}
    texts = {name: np.array(found[name], dtype=str) for name in found if name.startswith("picture_")}
    return pictures | texts | dict(magnified=np.array(found["magnified"], dtype=np.float64))


def _bytes(picture: Tensor) -> np.ndarray:
    """uint8 [H, W, C] of [C, H, W] in [0, 1]."""
    return picture.clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
