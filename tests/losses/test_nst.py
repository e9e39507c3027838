"""NST. Values and gradients are tested with every loss's."""

import pytest
import torch
from feature_case import drawn
from hypothesis import given, settings
from hypothesis import strategies as st

from kdzoo.losses.nst import NST, neuron_selectivity


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**31), st.floats(0.1, 100))
def test_nst_sees_neither_the_order_of_positions_nor_of_channels(size, width, seed, scale):
    ours, theirs = drawn(size, width, 3, 4, seed=seed), drawn(size, 5, 3, 4, seed=seed + 1)
    plain = neuron_selectivity(ours, theirs)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    moved = [x.flatten(2)[:, :, order].reshape(x.shape) for x in (ours, theirs)]
    torch.testing.assert_close(neuron_selectivity(*moved), plain)
    torch.testing.assert_close(neuron_selectivity(ours.flip(1) * scale, theirs), plain)
    assert neuron_selectivity(-ours, ours).abs() < 1e-12 and plain > -1e-12


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: NST(stages=[1, 2]), r"stages must be pairs"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
