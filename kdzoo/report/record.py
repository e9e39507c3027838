"""Arrays that a tool left in a run's folder: read with care, and drawn an article a group."""

import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # groups reads runs, whose evaluation reads its arrays here
    from kdzoo.report.groups import Group


def read_arrays(file: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays of an npz file by name, never a pickle; ValueError says what is wrong with the file."""
    if not zipfile.is_zipfile(file):
        raise ValueError("it is cut off or no npz file")
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in names}
    except KeyError as error:
        raise ValueError(f"it has no array {error}") from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error)) from error


def articles(groups: Sequence["Group"], name: str, draw: Callable[[Path], str]) -> str:
    """What ``draw`` makes of the file ``name`` of each group's first run; a damaged file is told in its place."""
    blocks = []
    for group in groups:
        file = group.first.folder / name
        if file.is_file():
            blocks.append(f"<article><h3>{escape(group.label(group.first))}</h3>{drawn(file, draw)}</article>")
    return "".join(blocks)


def drawn(file: Path, draw: Callable[[Path], str]) -> str:
    """``draw(file)``, or a note of what is wrong with the file."""
    try:
        return draw(file)
    except ValueError as error:
        return f"<p class=note>{file.name} was left out: {escape(str(error))}</p>"
