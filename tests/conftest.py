"""Shared fixtures: golden values, tiny configs, one thread for repeatable small runs."""

import json
import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks gain nothing from threads, and lose much on a busy machine
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
