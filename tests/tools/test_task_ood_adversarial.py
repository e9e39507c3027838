"""eval_robust.py --task ood --protocol adversarial: table, JSON, page, and one line for every mistake."""

import json
from pathlib import Path

import numpy as np
import pytest

import kdzoo
from kdzoo.config import Config
from kdzoo.tools import eval_robust

OPTIONS = ["--task", "ood", "--protocol", "adversarial", "--device", "cpu"]
pytestmark = pytest.mark.filterwarnings("ignore:the covariance of")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small network that reads most digits, and its config."""
    folder = tmp_path_factory.mktemp("digits")
    config = Config(
        dict(
            data=dict(type="Digits", test_limit=360),
            student=dict(name="resnet8", options=dict(widths=(8, 8, 16, 16))),
            losses=[dict(type="CrossEntropy")],
            epochs=4,
            batch_size=64,
            optimizer=dict(type="SGD", lr=0.1, momentum=0.9),
            schedule=dict(type="Cosine"),
            runtime=dict(tensorboard=False),
        )
    )
    kdzoo.train(config, work_dir=folder / "run", device="cpu")
    (folder / "digits.py").write_text(config.dump())
    return [str(folder / "digits.py"), str(folder / "run" / "last.safetensors")]


def test_table_json_and_page(trained, capsys):
    words = ["--attacks", "bim", "fgsm", "--attack-eps", "0.3", "--limit", "300", "--layers", "layer1", "layer3"]
    assert eval_robust.main([*trained, *OPTIONS, *words, "--out", "run"]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert "attack      tuned on    triples" in told and "attacking 300 images with BIM" in told
    assert not Path("run/robust_ood.json").exists()
    record = json.loads(Path("run/robust_ood_adversarial.json").read_text())
    rows = {(row["attack"], row["tuned_on"]): row for row in record["results"]}
    assert set(rows) == {("FGSM", "FGSM"), ("BIM", "BIM"), ("BIM", "FGSM")} and record["attacked"] == 300
    assert all(50 < row["images"] <= 300 and row["metrics"]["auroc"] > 0.5 for row in rows.values())
    _page()


def _page():
    from kdzoo.report.adversarial import adversarial
    from kdzoo.report.run import Run

    class Group:
        first = Run(Path("run"))

        def label(self, run):
            return "the <run>"

    page = adversarial([Group()])
    assert page.count("<img") == 2 * 12 * 3 and "the &lt;run&gt;" in page and page.count("<tr>") == 1 + 3
    with np.load("run/ood_adversarial.npz") as stored:
        change = np.abs(stored["pictures"][:, 1].astype(int) - stored["pictures"][:, 0]).max()
    assert 70 <= change <= np.ceil(0.3 * 255) + 1
    Path("run/ood_adversarial.npz").write_bytes(b"PK cut off")
    assert "was left out: it is cut off or no npz file" in adversarial([Group()])


@pytest.mark.parametrize(
    "words, told",
    [
        (["--attacks", "fgms"], "--attacks has unknown 'fgms' (did you mean 'fgsm'"),
        (["--resume"], "--resume is for --protocol sets"),
        (["--positive", "ood"], "--positive is for --protocol sets"),
        (["--detectors", "MSP"], "--detectors is for --protocol sets"),
        (["--limit", "20"], "is right on 20 images; 100 are needed: raise --limit"),
        (["--attacks", "fgsm", "--attack-eps", "1e-9"], "FGSM: no image is right clean and noisy and wrong attacked"),
        (["--attacks", "fgsm", "--attack-eps", "-1"], "FGSM"),
        (["--layers", "layer9"], "there is no layer 'layer9'"),
    ],
)
def test_a_mistake_is_one_line(trained, capsys, words, told):
    assert eval_robust.main([*trained, *OPTIONS, *words]) == 2
    captured = capsys.readouterr().err
    assert captured.startswith("error: ") and captured.count("\n") == 1 and told in captured
