"""Two small convolutional networks with the face the Distiller asks for."""

import pytest
import torch
from torch import Tensor, nn

from kdzoo.output import ModelOutput


class Network(nn.Module):
    def __init__(self, width: int, classes: int = 5):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in ((3, width), (width, 2 * width))
        )
        self.drop = nn.Dropout(0.5)
        self.classifier = nn.Linear(2 * width, classes)

    def outputs(self, images: Tensor, features: bool = False) -> ModelOutput:
        maps = []
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        pooled = self.drop(images.mean((2, 3)))
        return ModelOutput(self.classifier(pooled), maps if features else [], pooled)


@pytest.fixture
def networks():
    """A student and a teacher."""
    torch.manual_seed(0)
    return Network(4), Network(6)


@pytest.fixture
def images():
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def target():
    return torch.tensor([0, 1, 2, 3, 4, 0])
