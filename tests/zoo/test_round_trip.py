"""What the zoo publishes is what its weights reach: tools/test.py on zoo:NAME gives the index's numbers."""

import json
import os
from pathlib import Path

import pytest

import kdzoo
from kdzoo.config import Config
from kdzoo.engine.study import _expand
from kdzoo.errors import UserError
from kdzoo.tools import test as test_tool
from kdzoo.zoo import load_model, read_index

ROOT = Path(__file__).parents[2]
MEASURED = [entry for entry in read_index().values() if entry.metrics[0].measured]
# Digits take a second; other data sets need their images here, and minutes.
SMALL = [entry.name for entry in MEASURED if entry.data == "Digits"]
LARGE = [entry.name for entry in MEASURED if entry.data != "Digits"]


def reproduce(name):
    entry = read_index()[name]
    assert test_tool.main([entry.config, f"zoo:{name}", "--device", "cpu", "--out", "t"]) == 0
    found = json.loads(Path("t/test.json").read_text())
    for metric in entry.metrics:
        # One image of 360 is 0.28 points: top-1 and top-5 are to the image; nll and ece to rounding.
        near = 1e-3 if metric.name.startswith("top") else 0.02
        assert found[metric.name] == pytest.approx(metric.value, abs=near), metric


@pytest.mark.parametrize("name", SMALL)
def test_the_digits_reproduce_their_metrics(name):
    reproduce(name)


@pytest.mark.nightly
@pytest.mark.skipif("KDZOO_DATA" not in os.environ, reason="needs the data sets; KDZOO_DATA says where they are")
@pytest.mark.parametrize("name", LARGE)
def test_larger_models_reproduce_their_metrics(name):
    reproduce(name)


def test_the_digits_configs_are_the_quick_starts_runs():
    runs = _expand(Config.from_file(ROOT / "configs" / "quickstart.py"))
    for run, file in (("teacher", "resnet20"), ("distilled", "gru_rows")):
        ours = Config.from_file(ROOT / "configs" / "digits" / f"{file}.py").to_dict()
        theirs = {k: v for k, v in runs[run].to_dict().items() if k not in ("name", "seeds")}
        student = theirs["student"]["name"] if set(theirs["student"]) == {"name"} else theirs["student"]
        theirs["student"] = student
        if "teacher" in ours:
            assert theirs["teacher"].pop("checkpoint") == "run:teacher"
            assert ours["teacher"].pop("checkpoint") == "zoo:digits/resnet20"
        assert ours == theirs


def test_a_model_by_its_name_and_a_teacher_in_a_config(tiny):
    model = load_model("digits/resnet20")
    assert not model.training and model.num_classes == 10
    teacher = dict(name="resnet20", checkpoint="zoo:digits/resnet20")
    student = dict(name="gru_rows", options=dict(img_size=8, hidden=8, drop_rate=0.0))
    config = Config(tiny | dict(epochs=1, augment=[], student=student, teacher=teacher,
                                losses=[dict(type="CrossEntropy"), dict(type="KD")]))
    metrics = kdzoo.train(config, "w", device="cpu")
    assert metrics["teacher"]["checkpoint"] == "zoo:digits/resnet20" and metrics["teacher"]["top1"] > 85


def test_a_wrong_name_is_told_before_anything_is_trained(tiny):
    teacher = dict(name="resnet20", checkpoint="zoo:digits/resnet2")
    with pytest.raises(UserError, match="teacher.checkpoint: the zoo has no 'digits/resnet2' .did you mean"):
        kdzoo.train(Config(tiny | dict(runs=[dict(name="a", teacher=teacher)])), "w", device="cpu")
    assert not Path("w").exists()
