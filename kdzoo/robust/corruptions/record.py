"""What is kept of a run over corruptions: finished cells to go on from, and ``corruptions.npz`` for the report page."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdzoo.errors import UserError
from kdzoo.files import atomic_path, write_text


class Cells:
    """Wrong and counted images of every finished (corruption, severity) in one JSON file, written after each.

    Args:
        file: ``None``: nothing is kept.
        key: what the counts depend on; it has to be the same for going on.
        resume: go on with what is there; otherwise it is overwritten.

    Raises:
        UserError: the file is of another run, or damaged, and ``resume`` was asked for.
    """

    def __init__(self, file: Path | None, key: dict, resume: bool):
        self.file, self.key = file, json.loads(json.dumps(key))
        self.found: dict[str, list[int]] = {}
        if file is None or not resume or not file.is_file():
            return
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
            known, self.found = before["key"], dict(before["cells"])
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{file} is damaged; leave --resume out to begin anew") from None
        for name in sorted(known.keys() | self.key.keys()):
            if known.get(name) != self.key.get(name):
                raise UserError(
                    f"{file} is of {name} = {known.get(name)!r}, now it is {self.key.get(name)!r}; "
                    "leave --resume out to begin anew, or choose another --out"
                )

    def put(self, name: str, severity: int, wrong: int, count: int) -> None:
        self.found[f"{name}/{severity}"] = [wrong, count]
        if self.file is not None:
            write_text(self.file, json.dumps(dict(key=self.key, cells=self.found), indent=1) + "\n")

    def get(self, name: str, severity: int) -> list[int] | None:
        """[wrong, counted], or ``None`` where it is not measured yet."""
        return self.found.get(f"{name}/{severity}")


def write_record(
    path: Path, source: str, names: Sequence[str], severities: Sequence[int], errors: np.ndarray, clean: float,
    baseline: str, ratios: dict[str, float], pictures: np.ndarray,
) -> None:  # fmt: skip
    """Write the page's file.

    Args:
        path: the file.
        source: what the images are, for the heading.
        names: K corruptions.
        severities: S of them.
        errors: [K, S] in [0, 1].
        clean: the error on clean images.
        baseline: its name, or "".
        ratios: CE by corruption, of those that have one.
        pictures: uint8 [K, S, H, W, C], one image under everything.
    """
    arrays = dict(
        source=np.array(source), names=np.array(names), severities=np.array(severities), errors=errors,
        clean=np.array(clean), baseline=np.array(baseline), pictures=pictures,
        ratios=np.array([ratios.get(name, np.nan) for name in names]),
    )  # fmt: skip
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
