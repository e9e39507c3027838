"""Attention transfer. Values and gradients are tested with every loss's."""

import pytest
import torch
from feature_case import TEACHER, drawn, output
from hypothesis import given, settings
from hypothesis import strategies as st

from kdzoo.losses.at import AT, attention, attention_transfer


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**31), st.floats(0.01, 1000), st.sampled_from([1, 2, 3.5]))
def test_at_sees_neither_the_scale_nor_the_order_of_channels(size, width, seed, scale, power):
    ours, theirs = drawn(size, width, 4, 3, seed=seed), drawn(size, 3, 4, 3, seed=seed + 1)
    plain = attention_transfer(ours, theirs, power)
    torch.testing.assert_close(attention_transfer(ours.flip(1) * scale, theirs / scale, power), plain)
    assert attention_transfer(-ours, ours, power) < 1e-20
    torch.testing.assert_close(attention(ours, power).norm(dim=1), torch.ones(size, dtype=torch.float64))


def test_at_survives_powers_that_overflow():
    ours, theirs = output().features[-1] * 1e15, output(TEACHER).features[-1] * 1e-3
    value = attention_transfer(ours.requires_grad_(), theirs, power=4.0)
    value.backward()
    torch.testing.assert_close(value, attention_transfer(ours / 1e15, theirs * 1e3, power=4.0))
    assert ours.grad.isfinite().all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: AT(power=0.5), "power must be at least 1"),
        (lambda: AT(stages=[[1]]), r"stages must be pairs"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
