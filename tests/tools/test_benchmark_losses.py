"""tools/benchmark.py losses: one table, one CSV row a variant, sound ratios, and one line for a mistake."""

import csv
import subprocess
import sys

import pytest
import torch

from kdzoo.tools.benchmark import main
from kdzoo.tools.benchmarks import losses
from kdzoo.tools.benchmarks.losses import Row, Variant

QUICK = ["losses", "--device", "cpu", "--rounds", "2", "--sizes", "8x5"]


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(losses, "ROUND_SECONDS", 1e-4)
    monkeypatch.setattr(losses, "copy_speed", lambda device: 2e9)
    monkeypatch.delenv("KDZOO_BACKEND", raising=False)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_table_and_the_csv_say_the_same(tmp_path, capsys):
    file = tmp_path / "losses.csv"
    assert main([*QUICK, "--csv", str(file), "--cpu-time"]) == 0
    printed = capsys.readouterr().out.splitlines()
    rows = list(csv.DictReader(file.open()))
    assert [(row["loss"], row["variant"]) for row in rows] == [
        (loss, variant) for loss in losses.LOSSES for variant in ("eager", "fused")
    ]
    assert list(rows[0]) == list(losses.COLUMNS)
    for row in rows:
        told = next(x for x in printed if x.startswith(f"{row['loss']:15}") and f" {row['variant']} " in x)
        assert f"{float(row['ms_p50']):.3f}" in told and "8 x 5" in told
        inputs = 1 if row["loss"] in ("cross_entropy", "smoothed_ce", "stablemax") else 2
        of_copy = (inputs + 1) * 8 * 5 * 4 / (float(row["ms_p50"]) / 1e3) / 2e9
        assert float(row["of_copy"]) == pytest.approx(of_copy, rel=0.05, abs=1e-4)
        assert row["torch"] == torch.__version__.split("+")[0] or row["torch"] == torch.__version__
        assert row["clock"] == "cpu" and row["threads"] == "1" and row["driver"] == ""
    launches = {(row["loss"], row["variant"]): int(row["launches"]) for row in rows}
    assert launches["dkd", "fused"] < launches["dkd", "eager"]


def test_launches_are_operators_that_compute():
    x = torch.ones(4, requires_grad=True)
    # mul, sum; ones_like of the backward, and its mul (the expand is a view)
    assert losses.count_launches(lambda: (x * 3).sum().backward(), torch.device("cpu")) == 4


def test_rounds_begin_in_turn_and_repeat_by_speed(monkeypatch):
    clock, log = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    speed = {"slow": 1e-3, "quick": 1e-5}

    def step(variant):
        log.append(variant.name)
        clock[0] += speed[variant.name]

    variants = [Variant(name, lambda: None) for name in speed]
    seconds = losses.interleave(variants, step, 2, torch.device("cpu"))
    assert seconds == {name: pytest.approx([each, each]) for name, each in speed.items()}
    assert log[10:] == ["slow"] + ["quick"] * 10 + ["quick"] * 10 + ["slow"]


def test_the_verdict_counts_promised_losses_only():
    def row(loss, times, variant="fused", size=(256, 100)):
        return Row(loss, size, variant, (1.0, 1.0, 1.0), times, 0.5, 3, None)

    told = losses.verdict([row("kd", 1.99), row("dkd", 2.0), row("cross_entropy", 1.0), row("kd", 1, "eager")], "cpu")
    assert told[-1] == "  reached by 1 of 2; missed: kd 256x100 (1.99)"
    assert losses.verdict([row("kd", 1.0, size=(8, 5))], "cpu") == []
    big = [row("kd", 9.0, size=(4096, 1000)), row("kd", 9.0, "compiled", size=(4096, 1000))]
    assert losses.verdict(big, "cuda")[-1] == "  reached by 0 of 1; missed: kd 4096x1000 (9.00)"  # half of copy


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--sizes", "8by5"], "--sizes has '8by5'; expected BxC such as 256x100"),
        (["--sizes", "8x1"], "with 2 classes or more"),
        (["--rounds", "0"], "--rounds is 0; use 1 or more"),
        (["--threads", "0"], "--threads is 0; use 1 or more"),
        (["--threads", "2", "--cpu-time"], "--cpu-time counts one thread"),
        (["--csv", "other.csv"], "other.csv has other columns"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, capsys, arguments, words):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert main([*QUICK, *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1 and words in told


def test_help_does_not_load_torch():
    code = "import sys; from kdzoo.tools.benchmark import main\ntry:\n    main(['losses', '--help'])\n"
    code += "except SystemExit:\n    pass\nassert not {'torch', 'numpy'} & set(sys.modules), 'heavy'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--sizes" in done.stdout


def test_a_size_that_does_not_fit_is_told_and_the_rest_is_kept(monkeypatch, tmp_path, capsys):
    measure, file = losses.measure, tmp_path / "losses.csv"

    def fails(loss, *rest):
        if loss == "dkd":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return measure(loss, *rest)

    monkeypatch.setattr(losses, "measure", fails)
    assert main([*QUICK, "--losses", "kd", "dkd", "nkd", "--csv", str(file)]) == 0
    assert "dkd, 8 x 5: out of memory; try smaller --sizes" in capsys.readouterr().out
    assert [row["loss"] for row in csv.DictReader(file.open())] == ["kd", "kd", "nkd", "nkd"]
