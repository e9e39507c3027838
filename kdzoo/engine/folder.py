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
from kdzoo.files import write_text

LOG, METRICS, CONFIG, EVALUATION = "log.jsonl", "metrics.json", "config.py", "evaluation.npz"
BEST, LAST = "best.safetensors", "last.safetensors"


def default_folder(config: Config) -> Path:
    """``work_dirs/`` and the config's name, or its path below ``configs/``."""
    if config.get("name"):
        return Path("work_dirs") / config["name"]
    path = Path(config.file or "run").with_suffix("")
    parts = path.parts
    below = parts[len(parts) - parts[::-1].index("configs") :] if "configs" in parts else parts[-1:]
    return Path("work_dirs", *below)


def set_aside(folder: Path) -> Path | None:
    """Rename a folder that holds an earlier run to NAME.1, NAME.2, ...; ``None`` where there is none."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    number = 1
    while (moved := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(moved)
    return moved


def check_same_config(folder: Path, config: Config) -> None:
    """Refuse to go on with a run under another config; ``runtime`` may differ.

    Raises:
        UserError: naming the first key that differs.
    """
    path = folder / CONFIG
    if not path.is_file():
        return
    before, now = Config.from_file(path).to_dict(), config.to_dict()
    for key in sorted((before.keys() | now.keys()) - {"runtime", "name", "seeds"}):
        if before.get(key) != now.get(key):
            raise UserError(
                f"{folder} holds a run with {key} = {before.get(key)!r}, now it is {now.get(key)!r}; "
                "resume with the config it began with, or choose another --work-dir"
            )


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
    with open(folder / LOG, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def write_json(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_metrics(folder: Path) -> dict[str, Any] | None:
    """The final metrics of a finished run."""
    path = folder / METRICS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


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
    command = ["git", "-C", str(Path(kdzoo.__file__).parent), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
