"""Weights under a KL constraint: golden values, special cases, invariances, errors."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from label_case import divergence, drawn, float64

from kdzoo.losses import functional as KF


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 20), st.floats(1e-6, 0.999), st.floats(1e-6, 1e4), st.integers(0, 2**31))
def test_kl_constrained_weights_use_up_the_constraint(teachers, share, scale, seed):
    scores, radius = drawn(3, teachers, seed=seed, scale=scale), share * math.log(teachers)
    w = KF.kl_constrained_weights(scores, radius)
    torch.testing.assert_close(w.sum(dim=1), torch.ones(3, dtype=torch.float64))
    assert (divergence(w) - radius).abs().max() < 1e-9
    in_order = w.gather(1, scores.argsort(dim=1))
    assert (in_order.diff(dim=1) >= 0).all()  # never less weight for a higher score; far out, weights underflow to ties
    torch.testing.assert_close(KF.kl_constrained_weights(7 * scores - 3, radius), w, rtol=1e-6, atol=1e-9)


def test_kl_constrained_weights_are_the_best():
    """No feasible random weights have a larger mean score."""
    scores, radius = drawn(4, seed=3), 0.2
    best = (KF.kl_constrained_weights(scores, radius) * scores).sum()
    tried = torch.distributions.Dirichlet(torch.ones(4, dtype=torch.float64)).sample((200_000,))
    feasible = tried[divergence(tried) <= radius]
    means = feasible @ scores
    assert len(feasible) > 1000 and means.max() <= best < means.max() + 0.1


def test_kl_constrained_weights_at_the_ends():
    scores = float64([[0.0, 1.0, 2.0], [3.0, 3.0, 1.0], [4.0, 4.0, 4.0]])
    uniform = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    torch.testing.assert_close(KF.kl_constrained_weights(scores, 0.0), uniform)
    everything = float64([[0, 0, 1], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]])
    torch.testing.assert_close(KF.kl_constrained_weights(scores, 5.0), everything)
    for two in (0.0, 0.01, 0.3, 0.6):
        w = KF.kl_constrained_weights(torch.tensor([1.0, 0.0]), two)
        assert w[0] * w[0].log() + w[1] * w[1].clamp_min(1e-300).log() + math.log(2) == pytest.approx(two, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, y: KF.kl_constrained_weights(x, -1.0), "radius must be 0 or more"),
        (lambda x, y: KF.kl_constrained_weights(y, 1.0), "scores must be floating"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(torch.randn(2, 3), torch.tensor([0, 2]))
