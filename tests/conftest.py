"""Shared fixtures: golden values, tiny configs, one thread for repeatable small runs."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is slow to draw inputs; that says nothing of the code.
settings.register_profile("seeded", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("seeded")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Tiny networks gain nothing from threads, and lose much on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def golden_losses() -> dict:
    """Values and gradients of the official code: see tests/data/README.md."""
    return json.loads((ROOT / "tests" / "data" / "losses.json").read_text())


@pytest.fixture(autouse=True)
def _seeded():
    import torch

    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Every test runs in an empty folder of its own, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tiny() -> dict:
    """A config that trains in about a second: 96 digits, a very small network."""
    return dict(
        data=dict(type="Digits", train_limit=96, test_limit=60),
        augment=[dict(type="PadCrop", padding=1)],
        student=dict(name="resnet8", options=dict(widths=(8, 8, 8, 8))),
        losses=[dict(type="CrossEntropy")],
        epochs=3,
        batch_size=32,
        optimizer=dict(type="SGD", lr=0.05, momentum=0.9),
        schedule=dict(type="Cosine"),
        runtime=dict(tensorboard=False, log_every=2, checkpoint_seconds=0.0),
    )
