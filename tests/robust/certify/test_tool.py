"""The command line: every method end to end, a killed run, processes that share, and one line for a mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from kdzoo.config import Config
from kdzoo.models import create_model
from kdzoo.models.checkpoint import save_weights
from kdzoo.tools.eval_robust import main

# The 13 logs published with locuslab/smoothing (Cohen et al., 2019); not part of this repository.
LOGS = Path(os.environ.get("KDZOO_CERTIFY_LOGS", "certify_logs")).resolve()
ASK = [
    "--task",
    "certify",
    "--sigma",
    "0.25",
    "--device",
    "cpu",
    "--n",
    "120",
    "--n0",
    "20",
    "--max-images",
    "6",
    "--skip",
    "4",
    "--batch",
    "60",
]


@pytest.fixture
def trained(tiny, tmp_path, monkeypatch):
    """Config and weights of a tiny digits classifier; no training needed."""
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    torch.manual_seed(0)
    model = create_model("resnet8", num_classes=10, in_chans=1, mean=[0.3], std=[0.4], widths=(8, 8, 8, 8))
    save_weights(model, tmp_path / "weights.safetensors")
    (tmp_path / "config.py").write_text(Config(tiny).dump())
    return [str(tmp_path / "config.py"), str(tmp_path / "weights.safetensors")]


def lines(path) -> list[str]:
    return [line.rsplit("\t", 1)[0] for line in Path(path).read_text().splitlines()]


@pytest.mark.parametrize("method", ["cohen", "cpm", "lvm", "published", "sequential"])
def test_every_method_end_to_end(trained, method, capsys):
    more = ["--radii", "0.05", "0.1", "--n", "400"] if method == "sequential" else []
    more += ["--validation", "2"] if method == "lvm" else []
    assert main([*trained, *ASK, "--method", method, "--out", "out", *more]) == 0
    told = capsys.readouterr().out
    assert len(lines(f"out/certify_{method}_sigma0.25.tsv")) == 7
    assert ("optimistic" in told) == (method == "published")
    page = Path(f"out/certify_{method}_sigma0.25.html").read_text()
    assert ("optimistic" in page) == (method == "published") and "<svg" in page
    record = json.loads(Path(f"out/robust_certify_{method}_sigma0.25.json").read_text())
    assert record["images"] == 6 and record["settings"]["method"].startswith(method)
    assert record["settings"]["device"] == "cpu"
    if method == "sequential":
        assert "samples an image on average" in told and record["mean_samples"] > 0
        assert record["radii"] == [0.05, 0.1] and "acr" not in record and len(record["accuracy"]) == 2
    # The log of a run is analysed without its model, too.
    assert main(["--task", "certify", "--from-log", f"out/certify_{method}_sigma0.25.tsv", "--out", "again"]) == 0
    assert Path("again/certified.html").exists()


def test_a_killed_run_goes_on_to_the_same_log(trained):
    command = [sys.executable, "-m", "kdzoo.tools.eval_robust", *trained, *ASK, "--n", "2000", "--out"]
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    log = Path("killed/certify_cohen_sigma0.25.tsv")
    process = subprocess.Popen(
        [*command, "killed"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    limit = time.monotonic() + 150
    while time.monotonic() < limit and not (log.exists() and len(lines(log)) >= 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 3 <= len(lines(log)) < 7, "killed too late to test anything"
    assert main([*trained, *ASK, "--n", "2000", "--out", "killed"]) == 0
    assert main([*trained, *ASK, "--n", "2000", "--out", "whole"]) == 0
    assert lines(log) == lines("whole/certify_cohen_sigma0.25.tsv")


def test_ranks_of_a_launcher_share_the_images(trained, monkeypatch, capsys):
    assert main([*trained, *ASK, "--out", "one"]) == 0
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert main([*trained, *ASK, "--out", "two"]) == 0
    assert "the last one to finish writes" in capsys.readouterr().out
    assert lines("two/certify_cohen_sigma0.25.tsv") == lines("one/certify_cohen_sigma0.25.tsv")
    sides = [Path(folder, "certify_cohen_sigma0.25.counts.jsonl").read_bytes() for folder in ("one", "two")]
    assert sides[0] == sides[1]


def test_a_process_without_images_ends_well(trained, monkeypatch, capsys):
    """torchrun ends all processes when one fails."""
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("RANK", "7")
    assert main([*trained, *ASK, "--out", "out"]) == 0
    assert "shard 7 of 8 is done" in capsys.readouterr().out
    assert json.loads(Path("out/robust_certify_cohen_sigma0.25.shard7of8.json").read_text())["images"] == 0


@pytest.mark.slow
def test_torchrun_writes_the_log_of_one_process(trained):
    """The launcher itself: two processes on CPUs share the images, and the last to finish merges."""
    assert main([*trained, *ASK, "--out", "one"]) == 0
    # Without the -- torchrun would take --n for an abbreviation of its own options.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--"]
    tool = Path(__file__).parents[3] / "tools" / "eval_robust.py"
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    done = subprocess.run(
        [*launcher, str(tool), *trained, *ASK, "--out", "two"],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the last one to finish writes" in done.stdout
    assert lines("two/certify_cohen_sigma0.25.tsv") == lines("one/certify_cohen_sigma0.25.tsv")
    sides = [Path(folder, "certify_cohen_sigma0.25.counts.jsonl").read_bytes() for folder in ("one", "two")]
    assert sides[0] == sides[1]
    assert Path("two/certify_cohen_sigma0.25.html").exists()


@pytest.mark.skipif(not LOGS.is_dir(), reason="KDZOO_CERTIFY_LOGS names no folder of published logs")
def test_the_real_logs_as_a_table(capsys):
    assert main(["--task", "certify", "--from-log", *map(str, sorted(LOGS.glob("*.tsv"))), "--out", "page"]) == 0
    told = capsys.readouterr().out
    # The published table, to all its digits: images, radii 0 to 1, ACR, seconds.
    for name, images, shares, acr, seconds in (
        ("cifar10_resnet110_noise_0.12_test_sigma_0.12", 500, "0.814 0.586 0.000 0.000 0.000", "0.270", "14.1"),
        ("cifar10_resnet110_noise_0.25_test_sigma_0.25", 500, "0.748 0.600 0.428 0.266 0.000", "0.429", "16.9"),
        ("cifar10_resnet110_noise_0.50_test_sigma_0.50", 500, "0.652 0.546 0.414 0.320 0.234", "0.538", "17.3"),
        ("cifar10_resnet110_noise_1.00_test_sigma_1.00", 500, "0.472 0.392 0.340 0.278 0.216", "0.542", "16.2"),
        ("imagenet_resnet50_noise_0.25_test_sigma_0.25", 427, "0.667 0.581 0.494 0.375 0.000", "0.477", "150.2"),
        ("imagenet_resnet50_noise_0.50_test_sigma_0.50", 500, "0.572 0.518 0.458 0.424 0.372", "0.733", "151.5"),
        ("imagenet_resnet50_noise_1.00_test_sigma_1.00", 500, "0.436 0.406 0.378 0.354 0.326", "0.875", "151.7"),
    ):
        (line,) = [line for line in told.splitlines() if line.startswith(f"{name} ")]
        fields = line.split()
        assert fields[1] == str(images) and fields[-3] == acr and fields[-1] == seconds
        assert " ".join(fields[2:7]) == shares
    page = Path("page/certified.html").read_text()
    assert page.count("<path") > 26 and "http://" not in page and "https://" not in page


@pytest.mark.parametrize(
    "change, words",
    [
        (["--sigma", "0"], "sigma must be positive"),
        (["--n", "5"], "use n=10 or more"),
        (["--method", "sequential"], "cannot certify radius 0.25 .* use n="),
        (["--method", "lvm", "--skip", "1"], "use --skip 2 and --validation 1 or more"),
        (["--shard", "3"], "--shard is '3'; write I/N"),
        (["--skip", "0"], "skip and max-images must be at least 1"),
        (["--from-log", "missing.tsv"], "can't be read as a certification log"),
    ],
)
def test_mistakes_are_one_line(trained, change, words, capsys):
    import re

    change = change if change != ["--method", "sequential"] else [*change, "--n", "20"]
    assert main([*trained, *ASK, "--out", "out", *change]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and re.search(words, error)


def test_what_is_missing_is_said(trained, capsys):
    assert main([*trained, "--task", "certify", "--out", "out"]) == 2
    assert "needs --sigma" in capsys.readouterr().err
    assert main([*trained, "--task", "certify", "--sigma", "0.25"]) == 2
    assert "needs --out" in capsys.readouterr().err
    assert main(["--task", "certify", "--sigma", "0.25"]) == 2
    assert "a config and a checkpoint are needed" in capsys.readouterr().err
    assert main([*trained, *ASK, "--out", "out"]) == 0
    assert main([*trained, *ASK, "--out", "out", "--alpha", "0.01"]) == 2
    assert "written with alpha = 0.001, now it is 0.01" in capsys.readouterr().err
