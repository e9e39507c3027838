"""tools/benchmark.py certify: every contestant does the work it says, and the rows say the same as the table."""

import csv

import pytest
import torch

from kdzoo.tools.benchmark import main
from kdzoo.tools.benchmarks import certify

TINY = ["certify", "--model", "resnet8", "--batch-size", "16", "--n", "40", "--rounds", "1", "--device", "cpu"]


def test_the_table_and_the_csv(tmp_path, capsys):
    assert main([*TINY, "--csv", str(tmp_path / "speed.csv")]) == 0
    told = capsys.readouterr().out
    rows = {row["variant"]: row for row in csv.DictReader((tmp_path / "speed.csv").open())}
    assert list(rows) == ["plain loop", "kdzoo", "bare model"]
    rate = {name: float(row["samples_per_second"]) for name, row in rows.items()}
    assert float(rows["kdzoo"]["times_plain"]) == pytest.approx(rate["kdzoo"] / rate["plain loop"], rel=0.01)
    assert float(rows["kdzoo"]["images_per_hour"]) == pytest.approx(3600 * rate["kdzoo"] / 40, rel=0.01)
    assert "share of the bare model" in told and "target on a CPU 0.9" in told


def test_the_contestants_run_all_samples():
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, images):
            seen.append(len(images))
            return images.flatten(1)[:, :10]

    model, image = Spy().eval(), torch.rand(3, 32, 32)
    for contestant in (certify.Plain(model, image, 40, 16), certify.Kdzoo(model, image, 40, 16, "fp32")):
        seen.clear()
        contestant.model = model
        assert contestant.image(0) == 40 == sum(seen)
    seen.clear()
    assert certify.Bare(model, 16, 40, "fp32", torch.device("cpu")).image(0) == 48 == sum(seen)


@pytest.mark.parametrize(
    "change, words", [(["--n", "0"], "--n is 0; use 1 or more"), (["--rounds", "0"], "--rounds is 0")]
)
def test_mistakes_are_one_line(change, words, capsys):
    assert main([*TINY, *change]) == 2
    assert words in capsys.readouterr().err
