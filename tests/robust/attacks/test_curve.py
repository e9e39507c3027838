"""Accuracy against epsilon: what the search network finds counts where the model is wrong."""

import torch
from torch import nn

from kdzoo.robust.attacks import APGD, PGD
from kdzoo.robust.attacks.curve import robust_accuracy


class Slope(nn.Module):
    """Two classes, told apart by the mean pixel; the margin of an image in Linf is its distance from 0.5."""

    def __init__(self, sign: float = 1.0):
        super().__init__()
        self.sign = sign

    def forward(self, images):
        score = self.sign * (images.flatten(1).mean(dim=1) - 0.5)
        return torch.stack([-score, score], dim=1)


def curve(search=None, attack=PGD):
    means = torch.tensor([0.41, 0.45, 0.55, 0.59])
    images = means.view(4, 1, 1, 1).expand(4, 1, 4, 4)
    target = torch.tensor([0, 0, 1, 1])
    batches, eps = lambda: [(images, target)], [0, 0.07, 0.2]
    points, _ = robust_accuracy(Slope(), batches, "Linf", eps, lambda norm, eps: attack(norm, eps, 5), search=search)
    return [point.top1 for point in points]


def test_the_margin_decides():
    assert curve() == curve(Slope()) == [100.0, 50.0, 0.0]


def test_where_the_search_is_wrong_the_model_itself_is_attacked():
    assert curve(Slope(-1.0)) == curve(Slope(-1.0), APGD) == [100.0, 50.0, 0.0]
