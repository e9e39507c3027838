"""Golden values, and a small network on digits."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from kdzoo.models import create_model


@pytest.fixture(scope="session")
def golden() -> dict:
    """Values of official code and papers: see tests/data/README.md."""
    return json.loads((Path(__file__).parents[2] / "data" / "ood.json").read_text())


class DigitsNet(nn.Module):
    """The golden file's two convolutions; layers ``first`` and ``second``."""

    def __init__(self, first, second):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, 1, 1, bias=False)
        self.first = nn.ReLU()
        self.conv2 = nn.Conv2d(6, 8, 3, 2, 1, bias=False)
        self.second = nn.ReLU()
        self.fc = nn.Linear(8, 5)
        self.double()
        self.conv1.weight.data = torch.tensor(first, dtype=torch.float64)
        self.conv2.weight.data = torch.tensor(second, dtype=torch.float64)

    def forward(self, x):
        return self.fc(self.second(self.conv2(self.first(self.conv1(x)))).mean((2, 3)))


@pytest.fixture
def digits(golden):
    """The golden network, and (images, labels) by positions in scikit-learn's digits."""
    from sklearn.datasets import load_digits

    values = golden["mahalanobis_digits"]
    found = load_digits()
    images, labels = torch.tensor(found.images / 16)[:, None], torch.tensor(found.target)
    return DigitsNet(values["W1"], values["W2"]), lambda rows: (images[rows], labels[rows])


@pytest.fixture
def model():
    """An untrained resnet8 with 4 classes."""
    return create_model("resnet8", 4, mean=[0.5] * 3, std=[0.25] * 3).eval()


@pytest.fixture
def loader():
    """Three batches of (images, labels), all four classes in each."""
    torch.manual_seed(1)
    return [(torch.rand(24, 3, 16, 16), torch.arange(24) % 4) for _ in range(3)]
