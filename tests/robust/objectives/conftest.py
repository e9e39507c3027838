"""Tiny networks that objectives can run: batch norm, dropout and a frozen part."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn


def network(classes: int = 4) -> nn.Module:
    stem = (nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Softplus(), nn.Dropout(0.1))
    return nn.Sequential(*stem, nn.Flatten(), nn.LazyLinear(classes))


@pytest.fixture
def networks():
    """A student in training mode, its first batch norm frozen, and a frozen teacher; one forward each is done."""
    torch.manual_seed(0)
    student, teacher = network(), network()
    for model in (student, teacher):
        model(torch.rand(8, 3, 6, 6))
    student.train()
    student[1].eval()
    return student, teacher.eval().requires_grad_(False)


@pytest.fixture
def images():
    return torch.rand(12, 3, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def target():
    return torch.arange(12) % 4


@pytest.fixture(scope="session")
def golden() -> dict:
    """Values of the authors' code: see tests/data/README.md."""
    return json.loads((Path(__file__).parents[2] / "data" / "ramp.json").read_text())
