"""Find the runs below a folder and put those that differ by the seed only together."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdzoo.errors import UserError
from kdzoo.report.run import EVALUATED, SEED_FOLDER, Run, read_run


@dataclass
class Group:
    """Runs that differ by the seed only, in the order of their seeds."""

    name: str
    folder: Path
    runs: list[Run]

    @property
    def finished(self) -> list[Run]:
        """The runs that wrote their final metrics."""
        return [run for run in self.runs if run.finished]

    @property
    def first(self) -> Run:
        """The run that stands for the group's settings: its first finished one, or else its first."""
        return (self.finished or self.runs)[0]

    def label(self, run: Run) -> str:
        """What to call one of its runs: ``"distilled/seed0"``, or the group's name where it is the only one."""
        return self.name if run.folder == self.folder else f"{self.name}/{run.folder.name}"


def read_groups(paths: Iterable[str | Path]) -> list[Group]:
    """Read every run at or below the given folders.

    Args:
        paths: folders of runs, of several seeds or of studies, in any mix.

    Returns:
        the groups, in the order of ``paths``; below one path in the order of the study's
        ``summary.json`` (its ``"runs"``, a list of names or a dict), or else of their creation.

    Raises:
        UserError: a folder is missing or holds no run.

    Example:
        >>> [group.name for group in read_groups(["work_dirs/quickstart"])]
        ['teacher', 'alone', 'distilled']
    """
    folders: dict[Path, list[Path]] = {}  # a group's folder -> the folders of its runs
    for path in paths:
        found = _group_folders(_find_runs(Path(path)))
        for folder in _ordered(found):
            held = folders.setdefault(folder, [])
            held.extend(run for run in found[folder] if run not in held)
    if not folders:
        raise UserError("no run given; name the folder of a run, of several seeds or of a study")
    names = _short_names(list(folders))
    groups = []
    for folder, runs in folders.items():
        members = [read_run(run) for run in runs]
        members.sort(key=lambda run: (run.seed is None, run.seed or 0))
        groups.append(Group(names[folder], folder, members))
    return groups


def _find_runs(path: Path) -> list[Path]:
    """The run folders at or below ``path``."""
    if not path.is_dir():
        raise UserError(f"no folder {path}; give the folder of a run, of several seeds or of a study")

    def refuse(error: OSError) -> None:
        raise UserError(f"can't read the folder {error.filename}: {error.strerror}") from error

    found = []
    for here, below, files in os.walk(path.resolve(), onerror=refuse):
        if "log.jsonl" in files or any(EVALUATED.fullmatch(file) for file in files):
            found.append(Path(here))
            below.clear()  # a run's checkpoints hold no further runs
    if not found:
        wanted = "a folder with log.jsonl, or with what tools/eval_robust.py --out wrote"
        raise UserError(f"no run ({wanted}) at or below {path}; train one with tools/train.py first")
    return found


def _group_folders(runs: list[Path]) -> dict[Path, list[Path]]:
    groups: dict[Path, list[Path]] = {}
    for run in runs:
        folder = run.parent if SEED_FOLDER.fullmatch(run.name) else run
        groups.setdefault(folder, []).append(run)
    return groups


def _ordered(groups: dict[Path, list[Path]]) -> list[Path]:
    """Groups by creation, and within a study as its ``summary.json`` says."""
    by_time = sorted(groups, key=lambda folder: (min(_created(run) for run in groups[folder]), folder))
    studies: dict[Path, list[Path]] = {}
    for folder in by_time:
        studies.setdefault(folder.parent, []).append(folder)
    ordered = []
    for study, folders in studies.items():
        names = _study_order(study / "summary.json")
        rank = {name: place for place, name in enumerate(names)}
        ordered += sorted(folders, key=lambda folder, rank=rank: rank.get(folder.name, len(rank)))
    return ordered


def _created(run: Path) -> float:
    files = [file for file in (run / "config.py", run / "log.jsonl") if file.is_file()]
    return (files or [run])[0].stat().st_mtime


def _study_order(file: Path) -> list[str]:
    if not file.is_file():
        return []
    try:
        names = list(json.loads(file.read_text(encoding="utf-8"))["runs"])  # names, or a dict keyed by them
        if not all(isinstance(name, str) for name in names):
            raise ValueError("'runs' holds more than names")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged ({error!r}), expected 'runs' with names; delete or mend it") from error
    return names


def _short_names(folders: Sequence[Path]) -> dict[Path, str]:
    """A name for every folder: its last part, with as many parents as tell all apart."""
    for depth in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = {folder: "/".join(folder.parts[-depth:]) for folder in folders}
        if len(set(names.values())) == len(folders):
            break
    return names
