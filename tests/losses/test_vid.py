"""VID. Values and gradients are tested with every loss's."""

import pytest
import torch
import torch.nn.functional as F
from feature_case import STUDENT, built, drawn, examples, pair

from kdzoo.losses.vid import VID, gaussian_surprise


def test_vid_fits_its_variance():
    mean, theirs = drawn(4, 3, 5, 5), drawn(4, 3, 5, 5, seed=1) * 2
    variance = (mean - theirs).square().mean((0, 2, 3)).requires_grad_()
    gaussian_surprise(mean, variance, theirs).backward()
    torch.testing.assert_close(variance.grad, torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    student, teacher, target = pair()
    loss = built("VID", student, teacher, initial_variance=100.0)
    torch.testing.assert_close(F.softplus(loss.scales[0]), torch.full((7,), 100.0 - 1e-5))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: VID(eps=0.0, **examples()), "eps must be between 0 and initial_variance"),
        (lambda: VID(**examples(student=[*STUDENT, (12, 1)])), r"5 maps and the teacher 4; say which .* stages="),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
