"""From a run's folder to the zoo: the entry, the file and the card say the same as the run."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kdzoo.config import Config
from kdzoo.engine.publish import publish
from kdzoo.engine.testing import test_checkpoint as run_test  # under this name pytest would collect it
from kdzoo.errors import UserError
from kdzoo.files import write_text
from kdzoo.models import create_model, save_weights
from kdzoo.registry import HEADS
from kdzoo.tools import publish as tool
from kdzoo.zoo.cache import sha256_of

module = importlib.import_module("kdzoo.engine.publish")


@pytest.fixture
def run(tiny):
    """The folder of a finished run; its weights are random, which publishing does not mind."""
    Path("configs").mkdir()
    Path("configs/tiny.py").write_text(Config(tiny).dump())
    write_text(Path("run/config.py"), Config(tiny).dump())
    options = tiny["student"]["options"]
    save_weights(create_model("resnet8", 10, in_chans=1, mean=[0.3], std=[0.4], **options), "run/last.safetensors")
    metrics = dict(
        config="configs/tiny.py", seed=0, epochs=3, train_images=96, losses=tiny["losses"], teacher=None,
        device="cpu", seconds=1.5, precision="fp32", versions=dict(torch="2"), git="abc",
    )
    write_text(Path("run/metrics.json"), json.dumps(metrics))
    Path("kdzoo/zoo").mkdir(parents=True)
    return Path("run")


def test_the_entry_its_file_and_its_card(run):
    made = publish(run, "digits/tiny", root=Path("."))
    last = run_test(Config.from_file(run / "config.py"), "run/last.safetensors", "cpu").scores
    (entry,) = json.loads(Path("kdzoo/zoo/index.json").read_text())
    assert made.weights == Path("kdzoo/zoo/weights/digits/tiny.safetensors")
    assert entry["sha256"] == sha256_of(made.weights) and entry["size"] == made.weights.stat().st_size
    assert entry["metrics"][0] == dict(
        name="top1", value=pytest.approx(last.top1, abs=1e-4), measured=True,
        protocol="last epoch, all 60 test images", seed=0,
    )
    assert (entry["architecture"], entry["classes"], entry["in_chans"]) == ("resnet8", 10, 1)
    assert entry["config"] == "configs/tiny.py" and "3 epochs on 96 images, 1 CrossEntropy" in entry["recipe"]
    card = made.card.read_text()
    assert entry["sha256"] in card and f"| top1 | {entry['metrics'][0]['value']:.4f} |" in card
    tested = run_test(Config.from_file(run / "config.py"), str(made.weights), "cpu").scores
    assert tested.top1 == pytest.approx(entry["metrics"][0]["value"], abs=1e-4)


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (dict(type="ArcFaceHead", scale=16.0), "ArcFaceHead, whose weights do not fit it"),
        (dict(type="SVMHead", decision="sign"), "SVMHead, which answers differently"),
        (dict(type="SVMHead"), None),
    ],
)
def test_a_head_the_zoo_does_not_build_is_refused(run, tiny, head, told):
    tiny["head"] = head
    for file in (Path("configs/tiny.py"), run / "config.py"):
        write_text(file, Config(tiny).dump())
    model = create_model("resnet8", 10, in_chans=1, mean=[0.3], std=[0.4], **tiny["student"]["options"])
    model.set_head(lambda width: HEADS.build(head, "head", in_features=width, num_classes=10))
    save_weights(model, "run/last.safetensors")
    if told is None:
        assert publish(run, "digits/head", root=Path(".")).weights.is_file()
        return
    with pytest.raises(UserError, match=told):
        publish(run, "digits/head", root=Path("."))
    assert not Path("kdzoo/zoo/weights").exists() and not list(Path("zoo_files").glob("*"))


def test_float16_only_where_no_answer_is_lost(run):
    kinds = {t.dtype for t in load_file(publish(run, "digits/half", root=Path(".")).weights).values()}
    assert kinds == {torch.float16, torch.int64}
    # A weight beyond float16's range spoils the half file and not the full one.
    weights = load_file(run / "last.safetensors")
    weights["bn1.weight"] *= 1e6
    weights["bn1.bias"] *= 1e6
    save_file(weights, run / "last.safetensors")
    made = publish(run, "digits/full", root=Path("."))
    assert made.precision == "float32" and made.stored.top1 == made.full.top1
    assert {t.dtype for t in load_file(made.weights).values()} == {torch.float32, torch.int64}


def test_an_entry_made_meanwhile_is_kept(run, monkeypatch):
    real = module._store

    def slow(*arguments):
        monkeypatch.setattr(module, "_store", real)
        publish(run, "digits/other", root=Path("."))
        return real(*arguments)

    monkeypatch.setattr(module, "_store", slow)
    publish(run, "digits/tiny", root=Path("."))
    names = [entry["name"] for entry in json.loads(Path("kdzoo/zoo/index.json").read_text())]
    assert sorted(names) == ["digits/other", "digits/tiny"]


def test_larger_files_go_beside_the_package(run, monkeypatch):
    monkeypatch.setattr("kdzoo.engine.publish.SHIPPED", 10)
    made = publish(run, "digits/large", root=Path("."))
    assert made.weights == Path("zoo_files/digits/large.safetensors") and made.entry.sources == ["zoo_files"]


def test_mistakes_write_nothing(run, capsys):
    Path("empty").mkdir()
    with pytest.raises(UserError, match="empty holds no finished run"):
        publish("empty", "digits/tiny", root=Path("."))
    with pytest.raises(UserError, match="name must look like"):
        publish(run, "../tiny", root=Path("."))
    with pytest.raises(UserError, match="trains resnet20, the run resnet8"):
        publish(run, "digits/tiny", config="configs/digits/resnet20.py", root=Path("."))
    with pytest.raises(UserError, match="the parent of digits/tiny, 'digits/gone', is not there"):
        publish(run, "digits/tiny", parent="digits/gone", root=Path("."))
    assert [p for p in Path(".").glob("kdzoo/zoo/**/*") if p.is_file()] == [] == list(Path("zoo_files").glob("*"))
    publish(run, "digits/tiny", root=Path("."))
    with pytest.raises(UserError, match="already; choose another name"):
        publish(run, "digits/tiny", root=Path("."))
    assert tool.main([str(run), "--name", "digits/tiny", "--root", ".", "--replace"]) == 0
    assert "make_zoo.py" in capsys.readouterr().out
    assert tool.main([str(run), "--name", "digits/tiny", "--root", "nowhere"]) == 2
    assert capsys.readouterr().err == "error: nowhere is no checkout of kdzoo; give one by --root\n"
