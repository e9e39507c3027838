"""Golden values, and classifiers whose certificates are known in closed form."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
def golden() -> dict:
    """Values of the official code and of independent formulas: see tests/data/README.md."""
    return json.loads((Path(__file__).parents[2] / "data" / "certify.json").read_text())


class HalfSpace(nn.Module):
    """Class 1 where the weighted sum of pixels exceeds a bound: the exact radius is the distance to the plane."""

    def __init__(self, weight: torch.Tensor, bias: float):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight, requires_grad=False), bias

    def forward(self, images):
        score = images.flatten(1) @ self.weight + self.bias
        return torch.stack([-score, score], dim=1)

    def distance(self, x: torch.Tensor) -> float:
        return float((x.flatten().double() @ self.weight.double() + self.bias).abs() / self.weight.double().norm())


@pytest.fixture
def half_space():
    """HalfSpace over images [3, 4, 4], and an image at distance ``margin`` from its plane."""

    def make(margin: float) -> tuple[HalfSpace, torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        weight = torch.randn(48, generator=generator)
        x = torch.rand(3, 4, 4, generator=generator)
        bias = float(margin * weight.norm() - x.flatten() @ weight)
        return HalfSpace(weight, bias).eval(), x

    return make
