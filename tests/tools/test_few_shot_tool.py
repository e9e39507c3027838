"""tools/few_shot.py on features made by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from kdzoo.tools import few_shot

COMMAND = ["--clip", "clip", "--aux", "aux", "--shots", "1", "4", "--seeds", "1", "2", "--epochs", "2"]


@pytest.fixture
def caches():
    rng = np.random.default_rng(0)
    centres = {"clip": rng.normal(size=(4, 6)), "aux": rng.normal(size=(4, 9))}
    for part, count in (("train", 80), ("test", 60)):
        labels = np.arange(count) % 4
        for folder, centre in centres.items():
            Path(folder).mkdir(exist_ok=True)
            x = centre[labels] + 0.7 * rng.normal(size=(count, centre.shape[1]))
            np.save(f"{folder}/{part}_features.npy", x.astype(np.float32))
            np.save(f"{folder}/{part}_labels.npy", labels)


def test_table_and_record(caches, capsys):
    assert few_shot.main([*COMMAND, "--out", "o"]) == 0
    out = capsys.readouterr().out
    assert "class means of 2 images a class, apart from the shots, for text" in out
    results = json.loads(Path("o/few_shot.json").read_text())["results"]
    assert list(results) == ["zero-shot", "linear probe", "Tip-Adapter", "AMU-Tuning"]
    assert len(set(results["zero-shot"]["1"] + results["zero-shot"]["4"])) == 1  # knows no shots
    assert np.mean(results["AMU-Tuning"]["4"]) > 60
    np.save("text.npy", np.eye(6, 4, dtype=np.float32))
    assert few_shot.main([*COMMAND, "--text", "text.npy"]) == 0


def test_mistakes(caches, capsys):
    assert few_shot.main([*COMMAND, "--shots", "19"]) == 2
    assert "but class 0 has" in capsys.readouterr().err
    np.save("aux/test_labels.npy", np.zeros(60, dtype=int))
    assert few_shot.main(COMMAND) == 2
    assert "hold other images" in capsys.readouterr().err
    assert few_shot.main(["--clip", "gone", "--aux", "aux"]) == 2
    assert "extract features with tools/probe.py first" in capsys.readouterr().err


def test_text_of_other_classes_and_features_half_extracted(caches, capsys):
    for shape, told in (((6, 3), "y must hold 4 classes from 0 to 2"), ((5, 4), "text_weights is [5, 4]")):
        np.save("text.npy", np.ones(shape, np.float32))
        assert few_shot.main([*COMMAND, "--text", "text.npy"]) == 2
        assert told in capsys.readouterr().err
    assert few_shot.main([*COMMAND, "--text", "gone.npy"]) == 2
    assert "gone.npy is no .npy file" in capsys.readouterr().err
    Path("aux/train.json").write_text("[]")
    assert few_shot.main(COMMAND) == 2
    assert "train.json can't be read" in capsys.readouterr().err
    Path("aux/train.json").write_text(json.dumps(dict(key="k", done=50, size=80, width=9)))
    assert few_shot.main(COMMAND) == 2
    assert "aux holds features of 50 of 80 images; run tools/probe.py again" in capsys.readouterr().err
