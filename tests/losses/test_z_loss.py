"""Z-loss: golden values, special cases, invariances, errors."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from label_case import drawn, float64

from kdzoo.losses import functional as KF


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 2**31))
def test_z_loss_ignores_shift_and_scale(classes, scale, shift, seed):
    logits, target = drawn(4, classes, seed=seed), torch.arange(4) % classes
    moved = KF.z_loss(logits * scale + shift, target)
    torch.testing.assert_close(moved, KF.z_loss(logits, target), rtol=1e-8, atol=1e-9)


def test_z_loss_is_bounded_and_blocks_the_gradient_of_flat_rows():
    logits = float64([[1.0, 1.0, 1.0], [0.0, 0.0, 9.0], [0.0, 1e-7, 0.0]]).requires_grad_()
    rows = KF.z_loss(logits, torch.tensor([0, 2, 1]), reduction="none")
    least = math.log1p(math.exp(-math.sqrt(2)))
    torch.testing.assert_close(rows, float64([math.log(2), least, least]))
    rows.sum().backward()
    assert torch.equal(logits.grad[[0, 2]], torch.zeros(2, 3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, y: KF.z_loss(x, y, a=0.0), "a must be above 0"),
        (lambda x, y: KF.z_loss(x, y, b=math.nan), "b must be finite"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(torch.randn(2, 3), torch.tensor([0, 2]))
