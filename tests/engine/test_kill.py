"""SIGKILL at random moments, also while a checkpoint is written: the resumed run ends bit for bit the same."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kdzoo.config import Config

TRAIN = """
import sys
from kdzoo import Config, train
train(Config.from_file("tiny.py"), sys.argv[1], resume="resume" in sys.argv, device="cpu")
"""


def start(folder, *words):
    command = [sys.executable, "-c", TRAIN, folder, *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_run_ends_the_same(tiny, tmp_path, seed):
    # Checkpoints at every step, so that many kills hit the writing of one.
    tiny |= dict(epochs=8, runtime=tiny["runtime"] | dict(log_every=1))
    Path("tiny.py").write_text(Config(tiny).dump())
    finish(start("whole"))
    rng, kills = random.Random(seed), 0
    process = start("killed")
    while process.poll() is None and kills < 4:
        log = tmp_path / "killed" / "log.jsonl"
        began = time.monotonic()
        lines = log.read_text().count("\n") if log.exists() else 0
        # Wait until it has trained on a little further, then for a moment of its own.
        while process.poll() is None and time.monotonic() - began < 60:
            if log.exists() and log.read_text().count("\n") > lines:
                break
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.15))
        if process.poll() is None:
            process.kill()
            process.wait()
            kills += 1
            process = start("killed", "resume")
    finish(process)
    assert kills >= 1
    for name in ("last.safetensors", "best.safetensors"):
        a, b = load_file(f"whole/{name}"), load_file(f"killed/{name}")
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    logs = [[json.loads(x) for x in open(f"{f}/log.jsonl")] for f in ("whole", "killed")]
    assert [(x["epoch"], x["loss"], x["test_nll"]) for x in logs[0]] == [
        (x["epoch"], x["loss"], x["test_nll"]) for x in logs[1]
    ]
