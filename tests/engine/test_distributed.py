"""Two CPU processes over gloo: the loss curve of one process with the same global batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kdzoo.config import Config
from kdzoo.engine import train

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29531"]


def two_processes(cfg):
    """Train it into the folder "two"."""
    Path("tiny.py").write_text(Config(cfg).dump())
    program = "import sys\nfrom kdzoo import Config, train\ntrain(Config.from_file('tiny.py'), 'two', device='cpu')\n"
    Path("program.py").write_text(program)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*LAUNCH, "program.py"], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_test_the_network_that_is_kept(tiny):
    """Batch norm's statistics are each process's own after a step; those of the file must be the tested ones."""
    from kdzoo.engine.testing import test_checkpoint

    two_processes(tiny | dict(epochs=1, ema_decay=0.5))
    last = json.loads(Path("two/metrics.json").read_text())["last"]
    scores = test_checkpoint(Config(tiny), "two/last.safetensors", "cpu").scores
    assert last["nll"] == pytest.approx(scores.nll, rel=1e-5)


def test_two_processes_learn_what_one_learns(tiny):
    # A network without batch norm, whose statistics are each process's own; an odd test set, an odd last batch.
    tiny |= dict(
        student=dict(name="gru_rows", options=dict(img_size=8, drop_rate=0.0)),
        augment=[dict(type="PadCrop", padding=1), dict(type="Mixup", alpha=0.5)],
        data=dict(type="Digits", train_limit=106, test_limit=61),
    )
    two_processes(tiny)
    single = train(Config(tiny), "one", device="cpu")
    double = json.loads(Path("two/metrics.json").read_text())
    assert double["processes"] == 2 and single["processes"] == 1
    logs = [[json.loads(x) for x in open(f"{f}/log.jsonl")] for f in ("one", "two")]
    assert len(logs[0]) == len(logs[1]) == 3
    for a, b in zip(*logs, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4)
        assert b["test_nll"] == pytest.approx(a["test_nll"], rel=1e-4)
        assert b["train_top1"] == pytest.approx(a["train_top1"])
    a, b = load_file("one/last.safetensors"), load_file("two/last.safetensors")
    assert all(torch.allclose(a[k], b[k], atol=1e-4) for k in a)
