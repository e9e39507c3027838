import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kdzoo.data import Data, build_data

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _no_data_root(monkeypatch):
    monkeypatch.delenv("KDZOO_DATA", raising=False)


@pytest.fixture
def make_npy(tmp_path):
    """Write a small data set of noise; every image differs from every other."""

    def make(name="npy", train=50, test=11, size=(6, 5), channels=3, classes=4) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        rng = np.random.default_rng(0)
        for split, count in (("train", train), ("test", test)):
            images = rng.integers(1, 256, size=(count, *size, channels)).astype(np.uint8)
            np.save(folder / f"{split}_images.npy", images)
            np.save(folder / f"{split}_labels.npy", rng.integers(classes, size=count))
        (folder / "classes.json").write_text(json.dumps([f"class {i}" for i in range(classes)]))
        return folder

    return make


@pytest.fixture
def load():
    """``build_data`` on the CPU with short defaults."""

    def build(folder, augment=(), batch_size=16, seed=0, **options) -> Data:
        cfg = folder if isinstance(folder, dict) else dict(type="Npy", path=str(folder))
        return build_data(cfg, batch_size, list(augment), seed, options.pop("device", CPU), **options)

    return build
