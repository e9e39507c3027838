"""The joint projection onto L1 ball and box against bisection and against a general solver."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from kdzoo.robust.attacks.budget import within_budget
from kdzoo.robust.attacks.projections import change_norm, project_l1_box

GOLDEN = json.loads((Path(__file__).parents[2] / "data" / "attacks.json").read_text())["l1_projection"]


def bisected(x, delta, eps):
    """Plain bisection for one row, in NumPy."""
    size, room = np.abs(delta), np.where(delta > 0, 1 - x, x)
    total = lambda t: np.minimum(np.maximum(size - t, 0), room).sum()  # noqa: E731
    low, high = 0.0, size.max(initial=0.0)
    if total(0.0) > eps:
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if total(middle) > eps else (low, middle)
    else:
        high = 0.0
    return np.sign(delta) * np.minimum(np.maximum(size - high, 0), room)


@pytest.mark.parametrize("eps", list(GOLDEN["by_eps"]))
def test_golden(eps):
    x, y = (torch.tensor(GOLDEN[name], dtype=torch.float64) for name in "xy")
    expected = torch.tensor(GOLDEN["by_eps"][eps]["exact"], dtype=torch.float64)
    torch.testing.assert_close(project_l1_box(x, y, float(eps)), expected, rtol=0, atol=1e-9)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 12), st.integers(1, 3), st.floats(1e-3, 6))
def test_exact_to_1e_9_against_bisection(data, pixels, rows, eps):
    numbers = st.sampled_from([0.0, 1.0, 0.5, 0.25]) | st.floats(0, 1)
    x = np.array(data.draw(st.lists(numbers, min_size=rows * pixels, max_size=rows * pixels))).reshape(rows, pixels)
    values = st.sampled_from([0.0, 1.0, -1.0, 0.5]) | st.floats(-3, 3)
    y = np.array(data.draw(st.lists(values, min_size=rows * pixels, max_size=rows * pixels))).reshape(rows, pixels)
    found = project_l1_box(torch.from_numpy(x), torch.from_numpy(y), eps).numpy()
    for row in range(rows):
        np.testing.assert_allclose(found[row], bisected(x[row], y[row], eps), rtol=0, atol=1e-9)
    narrow = project_l1_box(torch.from_numpy(x).float(), torch.from_numpy(y).float(), eps).double()
    assert narrow.abs().sum(dim=1).max() <= eps


def test_it_is_the_nearest_point():
    """A general solver of the quadratic programme finds no nearer one."""
    generator = np.random.default_rng(0)
    for eps in (0.3, 1.0):
        x, y = generator.random(6), generator.normal(size=6)
        bounds = [(-x[i], 1 - x[i]) for i in range(6)]
        solved = minimize(
            lambda d, y=y: ((d - y) ** 2).sum(), np.zeros(6), bounds=bounds, method="SLSQP",
            constraints=[dict(type="ineq", fun=lambda d, eps=eps: eps - np.abs(d).sum())], options=dict(maxiter=500),
        )  # fmt: skip
        found = project_l1_box(torch.from_numpy(x)[None], torch.from_numpy(y)[None], eps)[0].numpy()
        assert ((found - y) ** 2).sum() <= solved.fun + 1e-6
        assert np.abs(found).sum() <= eps and (found >= -x).all() and (found <= 1 - x).all()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["Linf", "L2", "L1"]), st.floats(1e-3, 1.0), st.integers(0, 1000))
def test_within_budget_in_float64(norm, eps, seed):
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(4, 3, 5, 5, generator=draw)
    wild = images + torch.randn(images.shape, generator=draw)
    found = within_budget(wild, images, norm, eps)
    assert change_norm(found.double() - images.double(), norm).max() <= eps
    assert 0 <= found.min() and found.max() <= 1
    torch.testing.assert_close(within_budget(found, images, norm, eps), found, rtol=0, atol=1e-7)


def test_mistakes():
    with pytest.raises(ValueError, match="one shape"):
        project_l1_box(torch.zeros(1, 2), torch.zeros(1, 3), 1.0)
    with pytest.raises(ValueError, match="above 0"):
        project_l1_box(torch.zeros(1, 2), torch.zeros(1, 2), 0.0)
