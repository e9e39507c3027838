"""Read what one run wrote.

Nothing of it is executed: ``config.py`` is read as text, its literals only.
"""

import ast
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdzoo.report.evaluation import Evaluation, read_evaluation

SEED_FOLDER = re.compile(r"seed(\d+)")
EVALUATED = re.compile(r"robust_[\w.]+\.json")  # of tools/eval_robust.py


@dataclass(frozen=True)
class Epoch:
    """One line of ``log.jsonl``; top-1 and top-5 in percent. What the run did not log is ``None``."""

    epoch: int
    lr: float | None = None
    loss: float | None = None
    terms: dict[str, float] = field(default_factory=dict)
    train_top1: float | None = None
    test_top1: float | None = None
    test_top5: float | None = None
    test_nll: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Scores:
    """An evaluation on the test set: top-1, top-5 and ECE in percent, NLL in nats."""

    epoch: int | None = None
    top1: float | None = None
    top5: float | None = None
    nll: float | None = None
    ece: float | None = None


@dataclass
class Run:
    """One training run, as far as it got.

    ``broken_lines`` counts the lines of the log that were no JSON; ``problems`` says in words what
    could not be read. ``facts`` are the settings worth printing that have no field of their own.
    ``trained`` is false of a folder that holds no training, only what tools/eval_robust.py found of some weights.
    """

    folder: Path
    seed: int | None = None
    finished: bool = False
    log: list[Epoch] = field(default_factory=list)
    epochs: int | None = None
    network: str = ""
    parameters: int | None = None
    teacher: str = ""
    teacher_top1: float | None = None
    losses: list[dict[str, Any]] = field(default_factory=list)
    data: str = ""
    train_images: int | None = None
    test_images: int | None = None
    last: Scores = field(default_factory=Scores)
    best: Scores = field(default_factory=Scores)
    seconds: float | None = None
    images_per_second: float | None = None
    device: str = ""
    precision: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    config: str = ""
    evaluation: Evaluation | None = None
    broken_lines: int = 0
    problems: list[str] = field(default_factory=list)
    trained: bool = True

    @property
    def status(self) -> str:
        """``"finished"``, ``"unfinished, epoch 7 of 15"``, or ``"evaluated only"`` where there is no log."""
        if not self.trained:
            return "evaluated only"
        if self.finished:
            return "finished"
        reached = self.log[-1].epoch if self.log else 0
        return f"unfinished, epoch {reached}" + (f" of {self.epochs}" if self.epochs else "")


def read_run(folder: Path) -> Run:
    """Read one run's folder; what is damaged is left out and told in ``problems``."""
    run = Run(folder)
    seed = SEED_FOLDER.fullmatch(folder.name)
    run.seed = int(seed[1]) if seed else None
    _read_config(run, folder / "config.py")
    if (folder / "log.jsonl").is_file():
        _read_log(run, folder / "log.jsonl")
    else:
        _read_evaluated(run)
    _read_metrics(run, folder / "metrics.json")
    if (folder / "evaluation.npz").is_file():
        try:
            run.evaluation = read_evaluation(folder / "evaluation.npz")
        except ValueError as error:
            run.problems.append(f"evaluation.npz was left out: {error}")
    return run


def _read_evaluated(run: Run) -> None:
    """Which weights were evaluated, where nothing was trained."""
    run.trained = False
    for file in sorted(path for path in run.folder.iterdir() if EVALUATED.fullmatch(path.name)):
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            run.network = str(record.get("network") or run.network)
            run.facts["weights evaluated"] = str(record.get("checkpoint") or "")
        except (ValueError, AttributeError) as error:
            run.problems.append(f"{file.name} is damaged and was left out: {error}")


def _read_log(run: Run, file: Path) -> None:
    epochs: dict[int, Epoch] = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        try:
            epoch = _epoch(json.loads(line))
        except ValueError:
            run.broken_lines += 1
            continue
        epochs[epoch.epoch] = epoch
    run.log = [epochs[number] for number in sorted(epochs)]
    times = [epoch.seconds for epoch in run.log if epoch.seconds is not None]
    run.seconds = sum(times) if times else None
    if run.broken_lines:
        lines = "1 broken line" if run.broken_lines == 1 else f"{run.broken_lines} broken lines"
        run.problems.append(f"{lines} in log.jsonl left out (a killed run leaves its last line cut off)")


def _epoch(line: Any) -> Epoch:
    """An ``Epoch`` from one parsed line; ValueError where it is none."""
    if not isinstance(line, dict) or not isinstance(line.get("epoch"), int):
        raise ValueError("no epoch")
    numbers = {}
    for name in ("lr", "loss", "train_top1", "test_top1", "test_top5", "test_nll", "seconds"):
        numbers[name] = _number(line.get(name))
    terms = line.get("terms") or {}
    if not isinstance(terms, dict):
        raise ValueError("terms is no dict")
    values = {str(name): _number(value) for name, value in terms.items()}
    return Epoch(line["epoch"], terms={name: value for name, value in values.items() if value is not None}, **numbers)


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"expected a number, got {value!r}")
    return float(value)


def _read_config(run: Run, file: Path) -> None:
    """The text of the resolved config, and the settings of a run that has no metrics yet."""
    if not file.is_file():
        return
    run.config = file.read_text(encoding="utf-8", errors="replace")
    try:
        statements = ast.parse(run.config).body
    except (SyntaxError, ValueError):
        run.problems.append("config.py is no Python; its settings are left out")
        return
    settings: dict[str, Any] = {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                settings[statement.targets[0].id] = ast.literal_eval(statement.value)
            except (ValueError, TypeError):
                continue  # a call or a name: only literals are read, nothing is run
    run.epochs = settings["epochs"] if isinstance(settings.get("epochs"), int) else None
    run.losses = _dicts(settings.get("losses"))
    run.network = _name(settings.get("student"))
    run.teacher = _name(settings.get("teacher"))
    run.data = _name(settings.get("data"), "type")


def _name(setting: Any, key: str = "name") -> str:
    """The name in ``"resnet8"`` or ``dict(name="resnet8", ...)``."""
    if isinstance(setting, dict):
        setting = setting.get(key)
    return setting if isinstance(setting, str) else ""


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, (list, tuple)) else []


def _read_metrics(run: Run, file: Path) -> None:
    """The final metrics; they are written last, so their presence means the run is finished."""
    if not file.is_file():
        return
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
        _take_metrics(run, metrics)
    except (ValueError, TypeError, AttributeError) as error:
        run.problems.append(f"metrics.json is damaged and was left out: {error}")
        return
    run.finished = True


def _take_metrics(run: Run, metrics: dict[str, Any]) -> None:
    student, teacher = metrics.get("student") or {}, metrics.get("teacher") or {}
    last, best = _scores(metrics.get("last") or {}), _scores(metrics.get("best") or {})
    seconds = _number(metrics.get("seconds"))
    run.images_per_second = _number(metrics.get("images_per_second"))
    run.teacher_top1 = _number(teacher.get("top1"))
    run.last, run.best = last, best
    run.seconds = run.seconds if seconds is None else seconds
    run.seed = _integer(metrics.get("seed", run.seed))
    run.epochs = _integer(metrics.get("epochs", run.epochs))
    run.network = str(student.get("name", run.network))
    run.parameters = _integer(student.get("parameters"))
    run.teacher = str(teacher.get("name") or "unnamed") if teacher else ""
    run.losses = _dicts(metrics.get("losses"))
    run.data = str(metrics.get("data") or run.data)
    run.train_images = _integer(metrics.get("train_images"))
    run.test_images = _integer(metrics.get("test_images"))
    run.device, run.precision = str(metrics.get("device") or ""), str(metrics.get("precision") or "")
    run.versions = {str(name): str(version) for name, version in (metrics.get("versions") or {}).items()}
    facts = {
        "started from": metrics.get("config"),
        "student's weights at the start": student.get("init"),
        "teacher's checkpoint": teacher.get("checkpoint"),
        "teacher's SHA-256": teacher.get("sha256"),
        "teacher's logits from the cache": (metrics.get("teacher_cache") or {}).get("served"),
        "images that could not be read": metrics.get("unreadable_images"),
        "processes": metrics.get("processes"),
        "git revision": metrics.get("git"),
    }
    run.facts = {name: str(value) for name, value in facts.items() if value}


def _integer(value: Any) -> int | None:
    if value is not None and not isinstance(value, int):
        raise ValueError(f"expected a whole number, got {value!r}")
    return value


def _scores(values: dict[str, Any]) -> Scores:
    epoch = values.get("epoch")
    numbers = {name: _number(values.get(name)) for name in ("top1", "top5", "nll", "ece")}
    return Scores(epoch if isinstance(epoch, int) else None, **numbers)
