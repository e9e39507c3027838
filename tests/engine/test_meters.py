"""Running means on the device, and the first non-finite term."""

import math

import pytest
import torch

from kdzoo.distill import StepLosses
from kdzoo.engine.meters import Meters, NonFiniteLoss


def losses(*terms, correct=0):
    return StepLosses(torch.tensor(sum(terms)), torch.tensor(terms), torch.tensor(correct))


def test_means_are_weighted_by_images():
    meters = Meters(["a", "b"], torch.device("cpu"))
    meters.update(losses(1.0, 2.0, correct=3), images=4, step=1)
    meters.update(losses(4.0, 0.0, correct=1), images=2, step=2)
    means = meters.read()
    assert means.terms == pytest.approx({"a": 2.0, "b": 8 / 6})
    assert means.loss == pytest.approx(2.0 + 8 / 6) and means.top1 == pytest.approx(100 * 4 / 6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_first_bad_step_and_its_term_are_named(bad):
    meters = Meters(["CrossEntropy", "KD"], torch.device("cpu"))
    meters.update(losses(1.0, 1.0), 4, step=6)
    meters.check()
    meters.update(losses(1.0, bad), 4, step=7)
    meters.update(losses(bad, bad), 4, step=8)
    with pytest.raises(NonFiniteLoss, match="the loss KD became NaN or infinite at step 7"):
        meters.read()


def test_state_goes_on():
    meters, other = (Meters(["a"], torch.device("cpu")) for _ in range(2))
    meters.update(losses(1.5, correct=2), 4, 1)
    other.load(meters.state())
    for m in (meters, other):
        m.update(losses(3.0, correct=1), 4, 2)
    assert other.read() == meters.read()
    doubled = meters.read(lambda numbers, how: numbers * 2)  # two processes with the same share
    assert doubled.terms == meters.read().terms and doubled.top1 == meters.read().top1
