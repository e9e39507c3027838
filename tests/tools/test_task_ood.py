"""eval_robust.py --task ood: table, JSON, page, resuming, and one line for every mistake."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kdzoo.config import Config
from kdzoo.heads import NormalizedSoftmaxHead
from kdzoo.models import create_model, save_weights
from kdzoo.robust.ood import ood_metrics, scoring
from kdzoo.tools import eval_robust
from kdzoo.tools.tasks import ood

OPTIONS = ["--task", "ood", "--device", "cpu", "--sets", "sets.py", "--out", "run", "--validation", "20"]
FEW = ["--detectors", "MSP", "Mahalanobis", "KNN", "ODIN"]


@pytest.fixture
def files(tiny, monkeypatch):
    """A config, an untrained network and two sets: bright noise (far), stripes of another size (near)."""
    monkeypatch.delenv("KDZOO_DATA", raising=False)
    tiny["data"] = dict(type="Digits", train_limit=300, test_limit=120)
    Path("tiny.py").write_text(Config(tiny).dump())
    torch.manual_seed(0)
    model = create_model("resnet8", 10, in_chans=1, mean=[0.3], std=[0.3], widths=(8, 8, 8, 8))
    save_weights(model, "w.safetensors")
    rng = np.random.default_rng(0)
    for name, images in (
        ("noise", rng.integers(100, 256, (90, 8, 8, 1))),
        ("stripes", np.tile((np.arange(12) % 2 * 255)[:, None, None], (60, 1, 12, 3))),
    ):
        folder = Path("data") / name
        folder.mkdir(parents=True)
        np.save(folder / "test_images.npy", images.astype(np.uint8))
        np.save(folder / "test_labels.npy", np.zeros(len(images), dtype=np.int64))
        (folder / "classes.json").write_text('["x"]')
    Path("sets.py").write_text(
        'near = [dict(name="stripes", folder="stripes", channels="mean", size="bilinear")]\n'
        'far = [dict(name="noise", folder="noise"), dict(name="Absent", folder="absent")]\n'
    )
    return ["tiny.py", "w.safetensors"]


pytestmark = pytest.mark.filterwarnings("ignore:the covariance of")


def test_table_json_page_and_resuming(files, capsys, monkeypatch):
    assert eval_robust.main([*files, *OPTIONS, *FEW]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert "FPR % at 95 % TPR (ID positive)" in told and "not on disk, left out: Absent" in told
    record = json.loads(Path("run/robust_ood.json").read_text())
    assert record["positive"] == "id" and record["images"] == {"stripes": 60, "noise": 90}
    rows = {(row["detector"], row["set"]): row for row in record["results"]}
    assert len(rows) == 2 * 6 and rows["MSP", "noise"]["kind"] == "far"
    assert rows["Mahalanobis", "noise"]["metrics"]["auroc"] > 0.7
    assert rows["Mahalanobis ensemble, tuned on OOD", "noise"]["epsilon"] in (
        0,
        0.0005,
        0.001,
        0.0014,
        0.002,
        0.005,
        0.01,
    )
    # The stored scores, less every image that tuned something, are what the table was made of.
    from safetensors.numpy import load_file

    known, unknown = (load_file(f"run/ood_scores/{name}.safetensors") for name in ("in-distribution", "noise"))
    held = {len(s["MSP"]): 20 for s in (known, unknown)}
    sides = [np.delete(s["MSP"], np.arange(held[n]) * n // held[n]) for s, n in ((known, 120), (unknown, 90))]
    assert len(sides[1]) == 70
    assert rows["MSP", "noise"]["metrics"] == pytest.approx(ood_metrics(*sides))
    assert not [p for p in Path("run").rglob("*") if p.suffix in (".pkl", ".pt", ".pth", ".joblib")]
    _resume(files, record, capsys, monkeypatch)
    _page()


def _resume(files, record, capsys, monkeypatch):
    """A run that lost a set computes that one alone, and ends with the same numbers."""
    Path("run/ood_scores/noise.safetensors").unlink()
    passes = []
    real = scoring.score_set
    monkeypatch.setattr(scoring, "score_set", lambda *parts: passes.append(1) or real(*parts))
    assert eval_robust.main([*files, *OPTIONS, *FEW, "--resume"]) == 0
    assert len(passes) == 1 and "extracting" not in capsys.readouterr().out
    again = json.loads(Path("run/robust_ood.json").read_text())
    for before, after in zip(record["results"], again["results"], strict=True):
        assert after["metrics"] == pytest.approx(before["metrics"], abs=1e-6)
    assert eval_robust.main([*files, *OPTIONS, "--detectors", "MSP", "--resume"]) == 2
    assert "run/ood_scores holds scores with detectors = [" in capsys.readouterr().err


def test_weights_may_come_from_elsewhere_than_a_file(files, capsys, monkeypatch):
    """zoo:NAME and its like are no paths; what is kept under their key is the network's."""
    from kdzoo.engine import testing

    real = testing.load_weights
    monkeypatch.setattr(testing, "load_weights", lambda model, path: real(model, files[1]))
    few = ["--detectors", "MSP", "--no-ensemble"]
    assert eval_robust.main([files[0], "zoo:digits/resnet8", *OPTIONS, *few]) == 0, capsys.readouterr().err
    torch.manual_seed(1)
    save_weights(create_model("resnet8", 10, in_chans=1, mean=[0.3], std=[0.3], widths=(8, 8, 8, 8)), files[1])
    assert eval_robust.main([files[0], "zoo:digits/resnet8", *OPTIONS, *few, "--resume"]) == 2
    assert "holds scores with weights = " in capsys.readouterr().err


def test_by_default_a_cosine_head_leaves_out_what_needs_a_linear_classifier(files, capsys, monkeypatch):
    monkeypatch.setattr(ood, "DETECTORS", ("MSP", "Mahalanobis", "ViM", "GradNorm"))
    sizes = dict(in_chans=1, mean=[0.3], std=[0.3], widths=(8, 8, 8, 8))
    model = create_model("resnet8", 10, **sizes)
    model.set_head(lambda width: NormalizedSoftmaxHead(width, 10))
    save_weights(model, files[1])
    more = ["--no-ensemble", "--cfg-options", "head.type=NormalizedSoftmaxHead"]
    assert eval_robust.main([*files, *OPTIONS, *more]) == 0, capsys.readouterr().err
    assert "left out: ViM, GradNorm, since the classifier of resnet8 is a NormalizedSof" in capsys.readouterr().out
    record = json.loads(Path("run/robust_ood.json").read_text())
    assert {row["detector"] for row in record["results"]} == {"MSP", "Mahalanobis"}
    assert eval_robust.main([*files, *OPTIONS, *more, "--detectors", "ViM"]) == 2
    assert "ViM needs the classifier, but" in capsys.readouterr().err


def test_a_run_stopped_before_it_fitted_does_not_go_on_with_anothers_fit(files, capsys, monkeypatch):
    few = ["--detectors", "Mahalanobis", "--no-ensemble"]
    assert eval_robust.main([*files, *OPTIONS, *few]) == 0
    torch.manual_seed(1)
    save_weights(create_model("resnet8", 10, in_chans=1, mean=[0.3], std=[0.3], widths=(8, 8, 8, 8)), files[1])
    with monkeypatch.context() as patch:
        patch.setattr("kdzoo.robust.ood.features.FeatureFiles.extract", lambda *_: (_ for _ in ()).throw(OSError))
        with pytest.raises(OSError):
            eval_robust.main([*files, *OPTIONS, *few])
    assert eval_robust.main([*files, *OPTIONS, *few, "--resume"]) == 0
    resumed = json.loads(Path("run/robust_ood.json").read_text())["results"]
    assert eval_robust.main([*files, *OPTIONS, *few]) == 0
    afresh = json.loads(Path("run/robust_ood.json").read_text())["results"]
    for before, after in zip(afresh, resumed, strict=True):
        assert after["metrics"] == pytest.approx(before["metrics"], abs=1e-6)


def test_other_pictures_under_the_same_name_are_not_resumed_from(files, capsys):
    few = ["--detectors", "MSP", "--no-ensemble"]
    assert eval_robust.main([*files, *OPTIONS, *few]) == 0
    np.save("data/noise/test_images.npy", np.zeros((90, 8, 8, 1), np.uint8))
    assert eval_robust.main([*files, *OPTIONS, *few, "--resume"]) == 2
    assert "holds scores with contents = " in capsys.readouterr().err


def _page():
    from kdzoo.report.ood import ood, read_record
    from kdzoo.report.run import Run

    class Group:
        first = Run(Path("run"))

        def label(self, run):
            return "the <run>"

    page = ood([Group()])
    assert page.count("<svg") == 2 + 2 * 3 and "the &lt;run&gt;" in page and page.count("<img") == 72
    record = read_record(Path("run/ood.npz"))
    np.testing.assert_allclose(record["counts_ood"].sum(axis=2), 1)
    for number in (0, -1):
        assert (np.diff(record["picture_share"][record["picture_set"] == number]) <= 0).all()
    assert page.count("rejected as out-of-distribution") == 1 and page.count(">below ") == 24
    _rejected(record)
    Path("run/ood.npz").write_bytes(b"PK cut off")
    assert "was left out: it is cut off or no npz file" in ood([Group()])


def _rejected(record):
    """The picture rejected first is the test image with the lowest score, of those that tuned nothing."""
    from safetensors.numpy import load_file

    from kdzoo.registry import DATASETS
    from kdzoo.robust.ood import tune
    from kdzoo.robust.ood.ensemble import EPSILONS

    known, fgsm = (load_file(f"run/ood_scores/{name}.safetensors") for name in ("in-distribution", "fgsm"))
    held = np.arange(20) * 120 // 20
    grid = known["layer scores"]
    found = tune(grid[:, held], fgsm["layer scores"])
    scores = found.score(grid[EPSILONS.index(found.epsilon)])
    scores[held] = np.inf
    images = DATASETS.build(dict(type="Digits", test_limit=120)).part("test").images
    np.testing.assert_array_equal(record["pictures"][record["picture_set"] == -1][0], images[scores.argmin()])


@pytest.mark.parametrize(
    "words, told",
    [
        (["--detectors", "Mahalanobi"], "unknown detector 'Mahalanobi' (did you mean 'Mahalanobis'"),
        (["--cw-steps", "7"], "--cw-steps is for --protocol adversarial"),
        (["--limit", "0"], "--limit is 0; use 1 or more"),
        (["--shrinkage", "much"], "--shrinkage is 'much'"),
        (["--layers", "layer9"], "there is no layer 'layer9'"),
        (["--positive", "ood", "--convention", "lee"], "has ID as positive"),
        (["--sets", "gone.py"], "gone.py"),
        (["--sets", "other.py"], "add channels='mean', size='bilinear'"),
        (["--sets", "twice.py"], "the name 'Noise' is taken; give the set another one with name="),
        (["--sets", "own.py"], "the name 'FGSM' is taken"),
        (["--sets", "typed.py"], "typed.py: fra: unknown 'fra' (did you mean 'far'"),
        (["--detectors", "MahalanobisEnsemble"], "MahalanobisEnsemble can't be chosen here: it is always measured"),
        (["--detectors", "PytorchOOD"], "use --pytorch-ood NAME"),
        (["--sets", "empty.py"], "none of the sets of empty.py is on disk"),
    ],
)
def test_a_mistake_is_one_line(files, capsys, words, told):
    Path("other.py").write_text('far = [dict(folder="stripes")]\n')
    Path("twice.py").write_text('far = [dict(folder="noise"), dict(name="Noise", folder="noise")]\n')
    Path("own.py").write_text('far = [dict(name="FGSM", folder="noise")]\n')
    Path("typed.py").write_text('far = [dict(folder="noise")]\nfra = []\n')
    Path("empty.py").write_text('far = [dict(folder="absent")]\n')
    assert eval_robust.main([*files, *OPTIONS, *words]) == 2
    captured = capsys.readouterr().err
    assert captured.startswith("error: ") and captured.count("\n") == 1 and told in captured


def test_digits_have_no_benchmark_of_their_own(files, capsys):
    assert eval_robust.main([*files, "--task", "ood", "--device", "cpu"]) == 2
    assert "there is no benchmark for Digits; give --sets" in capsys.readouterr().err


def test_resuming_needs_a_folder(files, capsys):
    assert eval_robust.main([*files, "--task", "ood", "--device", "cpu", "--sets", "sets.py", "--resume"]) == 2
    assert "--resume goes on with what lies in --out" in capsys.readouterr().err
