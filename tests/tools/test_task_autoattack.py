"""eval_robust.py --task autoattack and union: tables, files, page, processes that share, and one line for a mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kdzoo.config import Config
from kdzoo.engine.testing import load_tested
from kdzoo.models import create_model, save_weights
from kdzoo.report.attacks import attacks as section
from kdzoo.report.attacks import read_record
from kdzoo.robust.attacks.autoattack.model_info import fraction_of_255
from kdzoo.tools import eval_robust

pytest.importorskip("pyautoattack")
SHORT = ["--version", "custom", "--attacks", "apgd-ce", "square", "--steps", "4", "--queries", "20", "--restarts", "1"]
ASK = ["--device", "cpu", "--max-images", "40", "--batch", "12"]


@pytest.fixture
def untrained(tiny, monkeypatch):
    """A config and weights for it."""
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    tiny["data"] = dict(type="Digits", train_limit=300, test_limit=60)
    Path("tiny.py").write_text(Config(tiny).dump())
    torch.manual_seed(0)
    save_weights(create_model("resnet8", 10, in_chans=1, mean=[0.3], std=[0.3], widths=(8, 8, 8, 8)), "w.safetensors")
    return ["tiny.py", "w.safetensors"]


@pytest.fixture
def files(untrained):
    """Hardly trained weights: some images are right, and some of them stay so."""
    model, data = load_tested(Config.from_file("tiny.py"), "w.safetensors", "cpu")
    optimizer = torch.optim.Adam(model.train().parameters(), 0.02)
    for epoch in range(4):
        for batch in data.train.epoch(epoch):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(batch.images), batch.target).backward()
            optimizer.step()
    save_weights(model.eval(), "w.safetensors")
    return untrained


def test_one_norm_end_to_end_with_card_images_and_page(files, capsys):
    ask = [*files, "--task", "autoattack", *ASK, *SHORT, "--norm", "linf", "--eps", "8/255", "--out", "run"]
    assert eval_robust.main(ask) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert "Linf eps 0.0313725, 40 images" in told and "apgd-ce" in told
    record = json.loads(Path("run/robust_autoattack.json").read_text())
    full = json.loads(Path("run/autoattack_Linf.json").read_text())
    assert record["after"] == full["after"] and list(full["after"]) == ["clean", "apgd-ce", "square"]
    assert full["robust_accuracy"] == full["outcome"].count("robust") / 40 and len(full["outcome"]) == 40
    assert 0.1 < full["clean_accuracy"] and record["norm"] == "Linf" and record["seed"] == 0
    stored = load_file("run/autoattack_Linf.safetensors")
    assert (
        stored["images"].shape == (40, 1, 8, 8)
        and stored["broken_by"].tolist().count(-1) / 40 == full["robust_accuracy"]
    )
    # Again: nothing is left to do; another budget is another run.
    assert eval_robust.main(ask) == 0
    assert json.loads(Path("run/autoattack_Linf.json").read_text())["outcome"] == full["outcome"]
    capsys.readouterr()
    assert eval_robust.main([*ask, "--eps", "0.1"]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: run/autoattack_Linf holds a run with eps") and "\n" not in error
    arrays = read_record(Path("run/autoattack_Linf.npz"))
    assert arrays["robust"].tolist() == list(full["after"].values()) and np.isnan(arrays["union"])


def test_the_card_of_robustbench(files, capsys, monkeypatch):
    from kdzoo.robust.attacks.autoattack import versions

    monkeypatch.setitem(
        versions._PUBLISHED, "standard", lambda norm: versions.parts_of("custom", norm, [dict(name="apgd-ce", steps=2)])
    )
    Path("card.json").write_text(json.dumps(dict(authors="A. Author", venue="Unpublished", clean_acc="1.0")))
    ask = [*files, "--task", "autoattack", *ASK, "--norm", "L2", "--eps", "0.5", "--out", "run", "--model-info"]
    assert eval_robust.main([*ask, "card.json"]) == 0, capsys.readouterr().err
    card = json.loads(Path("card.json").read_text())
    result = json.loads(Path("run/autoattack_L2.json").read_text())
    assert set(card) == {
        "link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue", "architecture",
        "eps", "clean_acc", "reported", "autoattack_acc", "footnote",
    }  # fmt: skip
    assert card["authors"] == "A. Author" and card["dataset"] == "digits" and card["architecture"] == "resnet8"
    assert card["autoattack_acc"] == str(round(100 * result["robust_accuracy"], 2)) and card["eps"] == "0.5"
    assert card["clean_acc"] == str(round(100 * result["clean_accuracy"], 2)) and "40 of 60" in card["footnote"]
    for wrong in (["--norm", "L1"], SHORT):
        assert eval_robust.main([*ask, "card.json", *wrong]) == 2
        assert "RobustBench" in capsys.readouterr().err
    assert (fraction_of_255(8 / 255), fraction_of_255(0.5), fraction_of_255(0.03)) == ("8/255", "0.5", "0.03")


def test_union_is_the_and_and_shows_on_the_page(files, capsys):
    ask = [*files, "--task", "union", *ASK, *SHORT, "--eps", "0.01", "0.1", "0.8", "--out", "run"]
    assert eval_robust.main(ask) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    record = json.loads(Path("run/robust_union.json").read_text())
    outcomes = [json.loads(Path(f"run/autoattack_{norm}.json").read_text())["outcome"] for norm in ("Linf", "L2", "L1")]
    expected = [all(each == "robust" for each in image) for image in zip(*outcomes, strict=True)]
    assert record["robust"] == expected and record["union_accuracy"] == sum(expected) / 40
    assert f"union         - {100 * record['union_accuracy']:11.2f}" in told

    class Group:
        class first:
            folder = Path("run")

        label = staticmethod(lambda run: "<name>")

    html = section([Group])
    assert "&lt;name&gt;" in html and "Union" in html and html.count("<figure>") >= 3
    assert f"{100 * record['union_accuracy']:.2f}</em>" in html and "<name>" not in html
    Path("run/union.npz").write_bytes(b"cut")
    assert "union.npz was left out" in section([Group])


def test_two_processes_share_the_images(files):
    ask = ["--task", "union", *ASK, *SHORT, "--norms", "L1", "L2", "--eps", "0.8", "0.1"]
    started = []
    for rank in range(2):
        environment = dict(os.environ, OMP_NUM_THREADS="1", RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
        command = [sys.executable, "-m", "kdzoo.tools.eval_robust", *files, *ask, "--out", "shared"]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    told = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], told
    assert eval_robust.main([*files, *ask, "--out", "alone"]) == 0
    for norm in ("L1", "L2"):
        first, second = (json.loads(Path(f"{out}/autoattack_{norm}.json").read_text()) for out in ("shared", "alone"))
        assert first["outcome"] == second["outcome"] and first["predicted"] == second["predicted"]
        first, second = (load_file(f"{out}/autoattack_{norm}.safetensors") for out in ("shared", "alone"))
        assert torch.equal(first["images"], second["images"])
    assert sum(b"union  " in out for out, _ in told) >= 1


@pytest.mark.parametrize(
    "more, message",
    [
        ([], "needs --out"),
        (["--out", "o", "--eps", "0"], "above 0"),
        (["--out", "o", "--eps", "8"], "write 8/255, not 8"),
        (["--out", "o", "--norm", "L2", "--eps", "8"], "whole box"),
        (["--out", "o", "--steps", "5"], "--version custom"),
        (["--out", "o", "--version", "custom"], "needs attacks"),
        (["--out", "o", "--version", "custom", "--attacks", "apgd"], "did you mean"),
        (["--out", "o", "--max-images", "0"], "at least 1"),
        (["--out", "o", "--batch", "0"], "chunk"),
        (["--out", "o", "--shard", "4/4"], "from 0 to N - 1"),
    ],
)
def test_a_mistake_is_one_line(untrained, more, message, capsys):
    assert eval_robust.main([*untrained, "--task", "autoattack", "--device", "cpu", *more]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and message in error and "\n" not in error


def test_norms_and_budgets_belong_together(untrained, capsys):
    assert eval_robust.main([*untrained, "--task", "union", "--out", "o", "--eps", "0.1"]) == 2
    assert "one budget a norm" in capsys.readouterr().err
    budgets = ["--norms", "Linf", "L1", "--eps", "8/255", "9999"]
    assert eval_robust.main([*untrained, "--task", "union", *ASK, *SHORT, "--out", "o", *budgets]) == 2
    assert "spans the whole box" in capsys.readouterr().err and not Path("o").exists(), "before any norm is attacked"
    for wrong in (["--norm", "L3"], ["--eps", "8/0"]):
        with pytest.raises(SystemExit):
            eval_robust.main([*untrained, "--task", "autoattack", "--out", "o", *wrong])
