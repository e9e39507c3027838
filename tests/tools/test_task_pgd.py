"""eval_robust.py --task pgd: table, JSON, the page's section, and one line for every mistake."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kdzoo.config import Config
from kdzoo.models import create_model, save_weights
from kdzoo.report.epsilon import read_record
from kdzoo.tools import benchmark, eval_robust
from kdzoo.tools.benchmarks import attacks as attacks_benchmark

OPTIONS = ["--task", "pgd", "--device", "cpu", "--out", "run", "--max-images", "40", "--steps", "3"]


@pytest.fixture
def files(tiny):
    tiny["data"] = dict(type="Digits", train_limit=300, test_limit=60)
    Path("tiny.py").write_text(Config(tiny).dump())
    model = create_model("resnet8", 10, in_chans=1, mean=[0.3], std=[0.3], widths=(8, 8, 8, 8))
    # An untrained classifier says one class of everything: larger weights make it vary.
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.orthogonal_(parameter, gain=2.0)
    save_weights(model, "w.safetensors")
    return ["tiny.py", "w.safetensors"]


@pytest.mark.parametrize("attack", ["apgd", "pgd"])
def test_table_json_and_section(files, capsys, attack):
    assert eval_robust.main([*files, *OPTIONS, "--attack", attack]) == 0, capsys.readouterr().err
    assert "robust top-1 %" in capsys.readouterr().out
    result = json.loads(Path("run/robust_pgd.json").read_text())
    assert result["images"] == 40 and result["attack"] == attack and len(result["results"]) == 15
    for norm in ("Linf", "L2", "L1"):
        top1 = [row["top1"] for row in result["results"] if row["norm"] == norm]
        assert top1 == sorted(top1, reverse=True) and top1[0] > 0  # a larger budget never helps the network
    record = read_record(Path("run/attacks.npz"))
    assert record["clean"].shape == record["change"].shape and len(record["said"]) == len(record["clean"]) > 0


def test_the_folded_search_finds_what_the_plain_one_does(files, capsys):
    found = []
    for extra in ([], ["--no-fold"]):
        assert eval_robust.main([*files, *OPTIONS, *extra]) == 0, capsys.readouterr().err
        found.append(json.loads(Path("run/robust_pgd.json").read_text()))
    assert [result["folded"] for result in found] == [True, False]
    for folded, plain in zip(*[result["results"] for result in found], strict=True):
        assert abs(folded["top1"] - plain["top1"]) <= 2.5  # one image of 40, by rounding


def test_the_section_draws_the_record_and_tells_of_a_damaged_one(files):
    from types import SimpleNamespace

    from kdzoo.report.epsilon import epsilon

    assert eval_robust.main([*files, *OPTIONS, "--norms", "Linf", "--eps", "0", "16/255"]) == 0
    group = SimpleNamespace(first=SimpleNamespace(folder=Path("run")), label=lambda run: "<net>")
    section = epsilon([group])
    assert "&lt;net&gt;" in section and "16/255" in section and "<svg" in section and "data:image/png" in section
    Path("run/attacks.npz").write_bytes(b"broken")
    assert "attacks.npz was left out" in epsilon([group])
    np.savez("run/attacks.npz", norm=np.array(["L2"]))
    assert "it has no array" in epsilon([group])


@pytest.mark.parametrize(
    "words, told",
    [
        (["--eps", "0.1"], "budgets of one norm"),
        (["--norms", "Linf", "--eps", "8"], "more than the box"),
        (["--norms", "Linf", "--eps", "x"], "is no number"),
        (["--norms", "Linf", "--eps", "-0.1"], "above 0"),
        (["--norms", "L2", "--eps", "0.1", "99"], "more than the box"),
        (["--norms", "L2", "--eps", "0", "--max-images", "10", "--out", "tiny.py"], "can't write tiny.py/attacks.npz"),
        (["--steps", "0"], "--steps is 0"),
        (["--loss", "hinge"], "loss is expected"),
    ],
)
def test_mistakes_are_one_line(files, capsys, words, told):
    arguments = [*files, "--task", "pgd", "--device", "cpu", *words]
    if "-0.1" in words:
        arguments = [*files, "--task", "pgd", "--device", "cpu", "--norms", "Linf", "--eps=-0.1"]
    assert eval_robust.main(arguments) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_benchmark(tmp_path, capsys):
    pytest.importorskip("pyautoattack")
    words = ["attacks", "--model", "resnet8", "--images", "4", "--steps", "2", "--rounds", "1", "--device", "cpu"]
    assert benchmark.main([*words, "--csv", str(tmp_path / "a.csv")]) == 0
    assert "times pyautoattack" in capsys.readouterr().out and len((tmp_path / "a.csv").read_text().split("\n")) == 6
    assert benchmark.main(["attacks", "--eps", "0"]) == 2


def test_the_factor_is_taken_within_rounds():
    rates = {"pyautoattack": [1.0, 10.0, 2.0], "kdzoo": [2.0, 20.0, 4.0]}
    rows = attacks_benchmark.summarise(rates, {"pyautoattack": 0.5, "kdzoo": 0.5})
    assert rows[1]["times"] == 2.0
    assert attacks_benchmark.verdict(rows, "cuda") == "2 times pyautoattack: kdzoo: reached (2.00)"
