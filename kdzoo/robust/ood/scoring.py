"""Score sets with many detectors in one pass each, and keep what is done: a stopped run goes on at the next set."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kdzoo.errors import UserError
from kdzoo.files import atomic_path, write_text
from kdzoo.robust.ood.detector import Detector
from kdzoo.robust.ood.ensemble import MahalanobisEnsemble
from kdzoo.robust.ood.taps import LayerReader

_GRID, _RIGHT = "layer scores", "predicted"


@dataclass
class SetScores:
    """What the detectors said of one set.

    Args:
        scores: name of a detector -> [N] float64, higher for in-distribution.
        grid: [E, N, L] float64, Mahalanobis scores of every layer at every step; ``None`` without an ensemble.
        predicted: [N] int64, the classes the network chose.
    """

    scores: dict[str, np.ndarray]
    grid: np.ndarray | None
    predicted: np.ndarray


def score_set(
    model: nn.Module,
    detectors: dict[str, Detector],
    ensemble: MahalanobisEnsemble | None,
    batches: Iterable[Tensor],
) -> SetScores:
    """One pass: logits and features are computed once for all detectors that read them.

    Args:
        model: images [B, C, H, W] in [0, 1] -> logits.
        detectors: fitted, by name.
        ensemble: fitted.
        batches: images.
    """
    read = LayerReader(model, ["pooled"])
    scores, grid, predicted = {name: [] for name in detectors}, [], []
    for images in batches:
        with torch.no_grad():
            logits, found = read(images)
        inputs = dict(logits=logits, pooled=found["pooled"], images=images)
        predicted.append(logits.argmax(dim=1).cpu())
        for name, detector in detectors.items():
            scores[name].append(detector.score(inputs[detector.reads]).double().cpu())
        if ensemble is not None:
            grid.append(ensemble.layer_scores(images).cpu())
    if not predicted:
        raise ValueError("there are no images to score; give at least one batch")
    return SetScores(
        {name: torch.cat(parts).numpy() for name, parts in scores.items()},
        torch.cat(grid, dim=1).numpy() if grid else None,
        torch.cat(predicted).numpy(),
    )


def file_stem(name: str) -> str:
    """A set's name as a file's."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


class State:
    """Scores of finished sets in a folder, one safetensors file a set.

    Args:
        folder: made where it is missing.
        key: what the scores depend on; it has to be the same for going on.
        resume: go on with what is there; otherwise it is overwritten.

    Raises:
        UserError: the folder holds scores of another run and ``resume`` was asked for.
    """

    def __init__(self, folder: Path, key: dict, resume: bool):
        self.folder = Path(folder)
        file = self.folder / "key.json"
        key = json.loads(json.dumps(key))
        if resume and file.is_file():
            before = json.loads(file.read_text(encoding="utf-8"))
            for name in sorted(before.keys() | key.keys()):
                if before.get(name) != key.get(name):
                    raise UserError(
                        f"{folder} holds scores with {name} = {before.get(name)!r}, now it is {key.get(name)!r}; "
                        "leave --resume out to begin anew, or choose another --out"
                    )
        else:
            # Fitted detectors, too: a run that is stopped before it fits must not go on with another's.
            for old in self.folder.rglob("*.safetensors"):
                old.unlink()
            write_text(file, json.dumps(key, indent=2) + "\n")

    def path(self, name: str) -> Path:
        return self.folder / f"{file_stem(name)}.safetensors"

    def get(self, name: str, compute: Callable[[], SetScores], detectors: Iterable[str]) -> SetScores:
        """The stored scores of that set, else computed and stored; in the order of ``detectors`` (files have none)."""
        from safetensors.numpy import load_file, save_file

        path = self.path(name)
        if path.is_file():
            arrays = load_file(path)
            grid, predicted = arrays.pop(_GRID, None), arrays.pop(_RIGHT)
            return SetScores({key: arrays[key] for key in detectors if key in arrays}, grid, predicted)
        found = compute()
        arrays = {**found.scores, _RIGHT: found.predicted}
        if found.grid is not None:
            arrays[_GRID] = np.ascontiguousarray(found.grid)
        with atomic_path(path) as temporary:
            save_file(arrays, temporary)
        return found
