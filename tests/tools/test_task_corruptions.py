"""eval_robust.py --task corruptions: table, JSON, page, going on, published folders, baselines, mistakes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kdzoo.config import Config
from kdzoo.engine.testing import load_tested
from kdzoo.models import create_model, save_weights
from kdzoo.robust.attacks.autoattack.state import model_fingerprint
from kdzoo.tools import eval_robust
from kdzoo.tools.tasks import corruptions as task

OPTIONS = ["--task", "corruptions", "--device", "cpu"]
FEW = ["--corruptions", "fog", "contrast", "saturate", "--severities", "1", "5"]


@pytest.fixture
def files(tiny):
    """A config and an untrained network on digits."""
    tiny["data"] = dict(type="Digits", train_limit=96, test_limit=60)
    Path("tiny.py").write_text(Config(tiny).dump())
    torch.manual_seed(0)
    save_weights(create_model("resnet8", 10, in_chans=1, mean=[0.3], std=[0.3], widths=(8, 8, 8, 8)), "w.safetensors")
    return ["tiny.py", "w.safetensors"]


def test_table_json_page_and_going_on(files, capsys, monkeypatch):
    assert eval_robust.main([*files, *OPTIONS, *FEW, "--out", "run"]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert "corruptions generated here: 3 corruptions at the severities 1, 5" in told and "-C" not in told
    record = json.loads(Path("run/robust_corruptions.json").read_text())
    assert list(record["errors"]) == ["fog", "contrast", "saturate"] and record["severities"] == [1, 5]
    assert record["errors"]["saturate"] == [record["clean_error"]] * 2  # grey images have no saturation
    assert record["mean_corruption_error"] == pytest.approx(
        np.mean([*record["errors"]["fog"], *record["errors"]["contrast"]])
    )
    assert record["common"] == 2 and record["images_a_cell"] == 60 and "mce" not in record
    # A stopped run measures what is missing, and ends with the same numbers.
    cells = json.loads(Path("run/corruptions_cells.json").read_text())
    assert len(cells["cells"]) == 7
    model, _ = load_tested(Config.from_file(files[0]), files[1], "cpu")
    assert cells["key"]["model"] == model_fingerprint(model)  # weights alone do not tell softplus from ReLU
    for name in ("fog/5", "contrast/1"):
        del cells["cells"][name]
    Path("run/corruptions_cells.json").write_text(json.dumps(cells))
    passes, real = [], task.count_wrong
    monkeypatch.setattr(task, "count_wrong", lambda *parts: passes.append(1) or real(*parts))
    assert eval_robust.main([*files, *OPTIONS, *FEW, "--out", "run", "--resume"]) == 0
    assert len(passes) == 2
    assert json.loads(Path("run/robust_corruptions.json").read_text())["errors"] == record["errors"]
    assert eval_robust.main([*files, *OPTIONS, *FEW, "--out", "run", "--resume", "--seed", "1"]) == 2
    assert "is of seed = 0, now it is 1" in capsys.readouterr().err
    _baseline(files, record, capsys)
    _page()


def _baseline(files, record, capsys):
    """Relative to itself the mCE is 1; a baseline of other severities is refused before any work."""
    own = ["--baseline", "run/robust_corruptions.json"]
    assert eval_robust.main([*files, *OPTIONS, *FEW, *own, "--out", "again"]) == 0
    assert "mean CE over 2 of 15 corruptions relative to resnet8 (run/robust" in capsys.readouterr().out
    found = json.loads(Path("again/robust_corruptions.json").read_text())
    assert found["mce"] == pytest.approx(1) and set(found["ce"]) == {"fog", "contrast"}
    assert eval_robust.main([*files, *OPTIONS, "--severities", "2", *own, "--corruptions", "fog"]) == 2
    assert "the severities [1, 5], these errors of [2]" in capsys.readouterr().err


def _page():
    from kdzoo.report.corruptions import corruptions
    from kdzoo.report.run import Run

    class Group:
        first = Run(Path("again"))

        def label(self, run):
            return "the <run>"

    page = corruptions([Group()])
    assert page.count("<img") == 6 and "the &lt;run&gt;" in page and "CE is relative to resnet8" in page
    assert page.count("<tr>") == 1 + 4
    Path("again/corruptions.npz").write_bytes(b"PK cut off")
    assert "was left out: it is cut off or no npz file" in corruptions([Group()])


def test_a_published_folder_is_taken_where_it_is(files, monkeypatch):
    monkeypatch.setitem(task.PUBLISHED, "Digits", "Digits-C")
    Path("data/Digits-C").mkdir(parents=True)
    np.save("data/Digits-C/fog.npy", np.zeros((20, 8, 8, 1), np.uint8))
    np.save("data/Digits-C/labels.npy", np.arange(20) % 2)
    monkeypatch.setenv("KDZOO_DATA", "data")
    for source in ("auto", "published"):
        assert eval_robust.main([*files, *OPTIONS, "--source", source, "--severities", "1", "2", "--out", "run"]) == 0
        record = json.loads(Path("run/robust_corruptions.json").read_text())
        assert record["source"] == "Digits-C" and record["images_a_cell"] == 4
        assert list(record["errors"]) == ["fog"] and record["errors"]["fog"][0] in (0.5, 1.0)
    small = ["--max-images", "30", "--corruptions", "fog", "--severities", "1"]
    assert eval_robust.main([*files, *OPTIONS, "--source", "generated", *small, "--out", "run"]) == 0
    record = json.loads(Path("run/robust_corruptions.json").read_text())
    assert record["source"] == "corruptions generated here (not Digits-C)" and record["images_a_cell"] == 30


@pytest.mark.parametrize(
    "words, told",
    [
        (["--severities", "6"], "--severities has 6"),
        (["--corruptions", "fogg"], "unknown corruption 'fogg' (did you mean 'fog'"),
        (["--max-images", "0"], "--max-images is 0; use 1 or more"),
        (["--source", "published"], "there is no published set for Digits"),
        (["--baseline", "alexnet"], "are of ImageNet-C, not of corruptions generated here"),
        (["--baseline", "gone.json"], "--baseline gone.json is no robust_corruptions.json"),
        (["--baseline", "tiny.py"], "--baseline tiny.py is no robust_corruptions.json"),
    ],
)
def test_a_mistake_is_one_line(files, capsys, words, told):
    assert eval_robust.main([*files, *OPTIONS, *words]) == 2
    captured = capsys.readouterr().err
    assert captured.startswith("error: ") and captured.count("\n") == 1 and told in captured
