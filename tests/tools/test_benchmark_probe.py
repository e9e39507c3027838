"""tools/benchmark.py probe: a tiny measurement, its rows and its mistakes."""

import csv

from kdzoo.tools import benchmark

TINY = ["probe", "--samples", "700", "--features", "16", "--classes", "3", "--chunk", "200"]


def test_rows_and_target(capsys):
    assert benchmark.main([*TINY, "--peer-samples", "300", "--logistic-samples", "90", "--csv", "out.csv"]) == 0
    out = capsys.readouterr().out
    assert "kdzoo NaiveBayesProbe" in out and "target: half the copy's rate" in out
    rows = list(csv.DictReader(open("out.csv")))
    assert [row["samples"] for row in rows] == ["700", "700", "300", "90"]
    assert float(rows[0]["of_copy"]) == 1 and all(float(row["gb_per_s"]) > 0 for row in rows)


def test_mistakes(capsys):
    assert benchmark.main([*TINY, "--classes", "1"]) == 2
    assert benchmark.main([*TINY, "--logistic-samples", "2"]) == 2
    assert "at least --classes, 3" in capsys.readouterr().err
