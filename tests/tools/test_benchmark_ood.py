"""tools/benchmark.py ood: the table, the file and the verdict say what was measured."""

import csv

import pytest

from kdzoo.tools.benchmark import main
from kdzoo.tools.benchmarks import ood

TINY = ["ood", "--rows", "400", "--scored", "50", "--width", "16", "--classes", "5", "--rounds", "1"]


def test_a_small_run(tmp_path, capsys):
    pytest.importorskip("pytorch_ood", reason="pytorch-ood is not installed (pip install pytorch-ood)")
    assert main([*TINY, "--csv", str(tmp_path / "ood.csv")]) == 0
    told = capsys.readouterr().out
    assert "400 x 16 features, 5 classes, 50 scored" in told and "scores equal to 1e-6: yes" in told
    rows = list(csv.DictReader((tmp_path / "ood.csv").open()))
    assert [(row["detector"], row["precision"]) for row in rows] == [
        ("kdzoo", "float32"), ("pytorch-ood", "float32"), ("kdzoo", "float64"), ("pytorch-ood", "float64"),
    ]  # fmt: skip
    assert all(float(row["fit_seconds"]) > 0 and float(row["score_seconds"]) > 0 for row in rows)


def test_the_factor_is_taken_within_rounds():
    seconds = {("kdzoo", "float64"): [(1.0, 1.0), (10.0, 1.0)], ("pytorch-ood", "float64"): [(4.0, 2.0), (40.0, 2.0)]}
    rows = ood.summarise(seconds)
    assert rows[1]["fit_times"] == 4.0 and rows[1]["score_times"] == 2.0
    assert ood.verdict(rows, 2e-6) == [
        "fit: 3 times pytorch-ood in float64: reached",
        "score: 3 times pytorch-ood in float64: missed",
        "scores equal to 1e-6: no",
    ]


@pytest.mark.parametrize(
    "words, told", [(["--rounds", "0"], "--rounds is 0"), (["--rows", "9"], "two for each of the 5")]
)
def test_mistakes_are_one_line(capsys, words, told):
    assert main([*TINY, *words]) == 2
    captured = capsys.readouterr().err
    assert captured.startswith("error: ") and captured.count("\n") == 1 and told in captured
