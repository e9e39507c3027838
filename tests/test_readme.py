"""The README tells the truth: its files exist, its configs are valid, its snippet works."""

import re
from pathlib import Path

import pytest

from kdzoo.config import Config
from kdzoo.engine import train
from kdzoo.engine.experiment import read_experiment
from kdzoo.registry import LOSSES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def test_every_file_it_names_exists():
    named = set(re.findall(r"\b(?:configs|tools|kdzoo|tests)/[\w/.-]+\.(?:py|md)\b", README))
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_its_config_is_valid(tmp_path):
    (text,) = [b for b in BLOCKS if b.startswith("_base_")]
    path = tmp_path / "configs" / "cifar100" / "x" / "leaf.py"
    path.parent.mkdir(parents=True)
    path.write_text(text.replace("../../_base_", str(ROOT / "configs" / "_base_")))
    student, (teacher,) = read_experiment(Config.from_file(path)).networks()
    assert (student.name, teacher.name) == ("resnet8x4", "resnet32x4")


@pytest.fixture
def new_loss():
    (text,) = [b for b in BLOCKS if "class LogitMSE" in b]
    assert len(text.strip().splitlines()) <= 15
    LOSSES.names()
    exec(compile(text, "readme", "exec"), {"__name__": "readme"})
    yield
    del LOSSES._entries["LogitMSE"]


def test_its_loss_in_fifteen_lines_trains(new_loss, tiny):
    train(Config(tiny | dict(epochs=1)), "teacher", device="cpu")
    teacher = dict(name="resnet8", options=tiny["student"]["options"], checkpoint="teacher/last.safetensors")
    cfg = tiny | dict(epochs=1, teacher=teacher, losses=[dict(type="LogitMSE", weight=0.1)])
    metrics = train(Config(cfg), "out", device="cpu")
    assert metrics["losses"] == [dict(type="LogitMSE", weight=0.1)] and metrics["last"]["epoch"] == 1
