"""Accuracy under noise: exact where the answer is known, and independent of batches."""

import pytest
import torch
from torch import nn

from kdzoo.data import build_data
from kdzoo.robust.noise import accuracy_under_noise


class Bright(nn.Module):
    """Class 1 where the image is brighter than a half on average, with a margin the test knows."""

    def forward(self, images):
        brightness = images.flatten(1).mean(dim=1)
        return torch.stack([0.5 - brightness, brightness - 0.5], dim=1)


class Greys:
    """Flat images of two greys, labelled by Bright itself."""

    def __init__(self, size, count=40):
        self.size, self.count = size, count

    def epoch(self, epoch):
        greys = torch.where(torch.arange(self.count) % 2 == 0, 0.45, 0.55)
        for start in range(0, self.count, self.size):
            part = greys[start : start + self.size]

            class Batch:
                images = part.view(-1, 1, 1, 1).expand(-1, 1, 16, 16)
                target = (part > 0.5).long()

            yield Batch


def test_without_noise_all_is_right_and_with_much_noise_it_is_chance():
    clean, small, large = accuracy_under_noise(Bright(), Greys(10, 400), [0.0, 0.1, 1e4])
    assert clean.top1 == 100 and small.top1 == 100  # the mean of 256 pixels moves by 0.1 / 16 only
    assert 35 < large.top1 < 65


def test_batches_change_nothing():
    one, other = (accuracy_under_noise(Bright(), Greys(size, 400), [1.0, 0.5], seed=3) for size in (7, 40))
    assert one == other != accuracy_under_noise(Bright(), Greys(40, 400), [1.0, 0.5], seed=4)


def test_a_sigma_that_is_none_is_refused():
    for sigma in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="sigma must be at least 0"):
            accuracy_under_noise(Bright(), Greys(4), [sigma])


def test_on_a_real_loader():
    data = build_data(dict(type="Digits", test_limit=50), 32, [], 0, torch.device("cpu"))
    (score,) = accuracy_under_noise(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval(), data.test, [0.1])
    assert 0 <= score.top1 <= 100
