"""RKD. Values and gradients are tested with every loss's."""

import pytest
import torch
from feature_case import drawn, rotation
from hypothesis import given, settings
from hypothesis import strategies as st

from kdzoo.losses.rkd import RKD, relational


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 2**31), st.floats(0.1, 100), st.floats(-50, 50))
def test_rkd_survives_rotation_shift_and_scale(size, width, seed, scale, shift):
    ours, theirs = drawn(size, width, seed=seed), drawn(size, 4, seed=seed + 1)
    moved = ours @ rotation(width, seed) * scale + shift
    torch.testing.assert_close(relational(moved, theirs), relational(ours, theirs), rtol=1e-6, atol=1e-9)
    assert relational(moved, ours) < 1e-9
    assert relational(moved[:1], theirs[:1]) == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: RKD(angle_weight=-1.0), "angle_weight must be 0 or more"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
