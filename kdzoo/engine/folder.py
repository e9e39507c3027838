"""A run's folder: the resolved config, one log line an epoch, the final metrics."""

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import kdzoo
from kdzoo.config import Config
from kdzoo.errors import UserError
from kdzoo.files import TEMPORARY, told, write_text

LOG, METRICS, CONFIG, EVALUATION = "log.jsonl", "metrics.json", "config.py", "evaluation.npz"
BEST, LAST = "best.safetensors", "last.safetensors"


def default_folder(config: Config) -> Path:
    """``work_dirs/`` and the config's name, or its path below ``configs/``."""
    if config.get("name"):
        return Path("work_dirs") / config["name"]
    path = Path(config.file or "run").with_suffix("")
    above = path.parts[:-1]
    below = path.parts[len(above) - above[::-1].index("configs") :] if "configs" in above else path.parts[-1:]
    return Path("work_dirs", *below)


def set_aside(folder: Path) -> Path | None:
    """Rename a folder that holds an earlier run to NAME.1, NAME.2, ...; ``None`` where there is none.

    Raises:
        UserError: the folder is the one we stand in, holds other files than a run's, or can't be renamed.
    """
    with told(folder):
        if not folder.is_dir() or not any(map(_kept, folder.rglob("*"))):
            return None
        if folder.resolve() in (Path.cwd(), *Path.cwd().parents):
            raise UserError(f"{folder} is the current folder or lies above it; name a folder of the run's own")
        # Of one run, of several seeds, of a study.
        if not any(next(folder.glob(way + LOG), None) for way in ("", "seed*/", "*/seed*/")):
            raise UserError(f"{folder} holds files and no earlier run; name a new or an empty folder")
        number = 1
        while (moved := folder.with_name(f"{folder.name}.{number}")).exists():
            number += 1
        folder.rename(moved)
    return moved


def _kept(path: Path) -> bool:
    """Whether this is a file, and not one that a kill left half written."""
    return (path.is_symlink() or not path.is_dir()) and not TEMPORARY.fullmatch(path.name)


def check_same_seeds(folder: Path, seeds: list[int] | None) -> None:
    """Refuse to go on with several seeds as with one run, or the other way round.

    Raises:
        UserError: what the folder holds, and how to go on with it.
    """
    single, several = folder / CONFIG, sorted(path.parent.name for path in folder.glob(f"seed*/{CONFIG}"))
    if seeds and single.is_file():
        raise UserError(f"{folder} holds a single run; resume it without seeds, or choose another --work-dir")
    if not seeds and several and not single.is_file():
        begun = " ".join(name.removeprefix("seed") for name in several)
        raise UserError(f"{folder} holds a run a seed, of {begun}; resume it with --seeds and all the seeds it had")


def check_same_config(folder: Path, config: Config) -> None:
    """Refuse to go on with a run under another config; ``runtime`` may differ.

    Raises:
        UserError: naming the first key that differs.
    """
    path = folder / CONFIG
    if not path.is_file():
        return
    before, now = Config.from_file(path).to_dict(), config.to_dict()
    study = folder.resolve().parent.parent  # of STUDY/NAME/seedK
    for key in sorted((before.keys() | now.keys()) - {"runtime", "name", "seeds"}):
        if not _same(before.get(key), now.get(key), study):
            raise UserError(
                f"{folder} holds a run with {key} = {before.get(key)!r}, now it is {now.get(key)!r}; "
                "resume with the config it began with, or choose another --work-dir"
            )


def _same(before: Any, now: Any, study: Path) -> bool:
    """Whether two values of a config agree; the study's own weights may have another path, say after a move."""
    if isinstance(before, dict) and isinstance(now, dict):
        return before.keys() == now.keys() and all(_same(before[key], now[key], study) for key in now)
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(_same(a, b, study) for a, b in zip(before, now, strict=True))
    if before != now and isinstance(before, str) and isinstance(now, str) and now.endswith(LAST):
        weights = Path(now).resolve()
        if weights.is_relative_to(study):
            own = weights.relative_to(study).parts  # NAME, seedK, last.safetensors
            return Path(before).parts[-len(own) :] == own
    return before == now


def read_log(folder: Path, epochs: int | None = None) -> list[dict[str, Any]]:
    """The log's whole lines, up to an epoch; a line that a kill cut off is left out."""
    path, lines = folder / LOG, []
    if not path.is_file():
        return []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            break
        if epochs is not None and line["epoch"] > epochs:
            break
        lines.append(line)
    return lines


def rewind_log(folder: Path, epochs: int) -> None:
    """Drop what was logged after the checkpoint, so that a resumed run repeats no epoch."""
    lines = read_log(folder, epochs)
    write_text(folder / LOG, "".join(json.dumps(line) + "\n" for line in lines))


def append_log(folder: Path, line: dict[str, Any]) -> None:
    with told(folder / LOG), open(folder / LOG, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def write_json(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_metrics(folder: Path) -> dict[str, Any] | None:
    """The final metrics of a finished run; ``None`` where it is not finished.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / METRICS
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); remove it and finish the run again with --resume") from error


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"kdzoo": kdzoo.__version__, "python": platform.python_version()}
    for name in ("torch", "timm", "torchvision", "accelerate", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """The checkout's revision, ``-dirty`` with uncommitted changes; ``None`` for an installed wheel."""
    root = Path(kdzoo.__file__).resolve().parents[1]
    top = _git(root, "rev-parse", "--show-toplevel")
    # A wheel in an environment within somebody's project lies in that project's repository.
    if top is None or Path(top).resolve() != root:
        return None
    return _git(root, "describe", "--always", "--dirty", "--abbrev=10")


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
