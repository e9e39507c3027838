"""A small network with images at all distances from its boundaries, shared by tests and the processes they start."""

import torch
from torch import nn

EPS = {"Linf": 0.012, "L2": 0.1, "L1": 0.8}
SHORT = [dict(name=name, steps=5, queries=40) for name in ("apgd-ce", "apgd-t", "fab-t", "square")]


def example(num_classes: int = 5, images: int = 23) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """(model, images [N, 3, 8, 8], labels [N]); the model is right on all but the first image."""
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, num_classes),
        )  # fmt: skip
        model.train()(torch.rand(64, 3, 8, 8))  # statistics of its own for the batch norm
        model.eval()
        x = torch.rand(images, 3, 8, 8, generator=generator)
        model[-1].bias.sub_(model(x).mean(dim=0))
        target = model(x).argmax(dim=1)
    target[0] = (target[0] + 1) % num_classes
    return model, x, target


def same(first, second) -> None:
    """Two results agree in every sample and every pixel."""
    assert first.outcomes() == second.outcomes() and first.complete and second.complete
    assert torch.equal(first.predicted, second.predicted) and torch.equal(first.target, second.target)
    assert first.adversarial.keys() == second.adversarial.keys()
    for row, image in first.adversarial.items():
        assert torch.equal(image, second.adversarial[row]), row
