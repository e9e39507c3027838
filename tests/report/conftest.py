"""Run folders as the engine writes them, small."""

import json
from pathlib import Path

import numpy as np
import pytest

CE = [{"type": "CrossEntropy"}]
KD = [{"type": "CrossEntropy", "weight": 0.1}, {"type": "KD", "temperature": 2.0, "standardize": True, "weight": 9.0}]
TEACHER = {"name": "resnet20", "checkpoint": "work_dirs/teacher/best.safetensors", "sha256": "ab" * 32, "top1": 92.0}


def log_line(epoch: int, top1: float = 50.0, **changes) -> dict:
    line = {"epoch": epoch, "step": 10 * epoch, "lr": 0.1, "loss": 2.0 / epoch, "terms": {"CrossEntropy": 2.0 / epoch}}
    line |= {"train_top1": top1 + 3, "test_top1": top1, "test_top5": 90.0, "test_nll": 1.5, "seconds": 4.0}
    return line | changes


def write_run(
    folder: Path, top1: float = 80.0, seed: int = 0, *, log: list[dict] | None = None, epochs: int = 3,
    finished: bool = True, teacher: dict | None = None, losses: list | None = None, network: str = "resnet8",
    evaluation: dict | None = None, metrics: dict | None = None,
) -> Path:
    """A run that ends at ``top1``; ``metrics`` and ``evaluation`` change or add keys of those files."""
    folder.mkdir(parents=True)
    losses = losses or (KD if teacher else CE)
    settings = {"epochs": epochs, "student": network, "teacher": teacher and {"name": teacher["name"]}}
    settings |= {"losses": losses, "data": {"type": "CIFAR10"}, "seed": seed}
    (folder / "config.py").write_text("".join(f"{key} = {value!r}\n" for key, value in settings.items()))
    log = [log_line(epoch, top1 - epochs + epoch) for epoch in range(1, epochs + 1)] if log is None else log
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    if finished:
        last = {"epoch": epochs, "top1": top1, "top5": 99.0, "nll": 0.5, "ece": 2.5}
        values = {
            "name": folder.name, "seed": seed, "epochs": epochs, "config": "configs/quick.py", "data": "CIFAR10",
            "train_images": 50000, "test_images": 10000, "losses": losses, "teacher": teacher,
            "student": {"name": network, "parameters": 78042, "init": f"random, seed {seed}"},
            "last": last, "best": last | {"epoch": epochs - 1, "top1": top1 + 0.5}, "seconds": 61.0,
            "images_per_second": 2500.0, "device": "cpu", "precision": "fp32",
            "versions": {"kdzoo": "0.1.0", "torch": "2.15.0"}, "git": "abc1234",
        }  # fmt: skip
        (folder / "metrics.json").write_text(json.dumps(values | (metrics or {})))
        np.savez_compressed(folder / "evaluation.npz", **(evaluation_arrays(2) | (evaluation or {})))
    return folder


def evaluation_arrays(classes: int, mistakes: int = 2, size: int = 8, channels: int = 3) -> dict[str, np.ndarray]:
    """Nine of ten right; the tenth image of each class is taken for the next one."""
    confusion = 9 * np.eye(classes, dtype=np.int64) + np.roll(np.eye(classes, dtype=np.int64), 1, axis=1)
    rng = np.random.default_rng(0)
    true = np.arange(mistakes) % classes
    return {
        "confusion": confusion,
        "classes": np.array([f"class{number}" for number in range(classes)]),
        "mistakes_images": rng.integers(0, 256, (mistakes, size, size, channels), dtype=np.uint8),
        "mistakes_true": true,
        "mistakes_predicted": (true + 1) % classes,
        "mistakes_confidence": np.linspace(0.999, 0.5, mistakes),
    }


@pytest.fixture
def make_run():
    return write_run


@pytest.fixture
def make_line():
    return log_line


@pytest.fixture
def make_evaluation():
    return evaluation_arrays


@pytest.fixture
def study(tmp_path) -> Path:
    """Teacher, student alone and distilled student, three seeds each, in the order of ``summary.json``."""
    folder = tmp_path / "study"
    for seed in range(3):
        write_run(folder / "teacher" / f"seed{seed}", 92.0 + seed, seed, network="resnet20")
        write_run(folder / "alone" / f"seed{seed}", [80.0, 82.0, 84.0][seed], seed)
        write_run(folder / "distilled" / f"seed{seed}", [81.0, 84.0, 87.0][seed], seed, teacher=TEACHER)
    (folder / "summary.json").write_text(json.dumps({"runs": {"teacher": {}, "alone": {}, "distilled": {}}}))
    return folder
