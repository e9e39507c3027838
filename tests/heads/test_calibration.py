"""Temperature and Platt scaling against scikit-learn and closed forms."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.calibration import _sigmoid_calibration
from sklearn.metrics import log_loss

from kdzoo.heads import PlattScaling, TemperatureScaling


@pytest.fixture
def drawn():
    """Scores that are three times as sure as the labels drawn from them."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4000, 4)) * 2
    y = np.array([rng.choice(4, p=p) for p in softmax(z, axis=1)])
    return 3 * z, y


def test_temperature_is_found(drawn):
    scores, y = drawn
    scaling = TemperatureScaling().fit(scores, y)
    assert scaling.temperature_ == pytest.approx(3, rel=0.05)
    p = scaling.predict_proba(scores)
    assert log_loss(y, p) < log_loss(y, softmax(scores, axis=1)) - 0.2
    assert (p.argmax(1) == scores.argmax(1)).all()


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_temperature_follows_the_scores_unit(drawn, unit):
    scores, y = drawn
    expected = TemperatureScaling().fit(scores, y)
    scaling = TemperatureScaling().fit(unit * scores, y)
    assert scaling.temperature_ == pytest.approx(unit * expected.temperature_, rel=1e-3)


def test_platt_is_scikit_learns_sigmoid(drawn):
    scores, y = drawn
    platt = PlattScaling().fit(scores, y)
    for k in range(4):
        a, b = _sigmoid_calibration(scores[:, k], y == k)  # of 1 / (1 + exp(a z + b))
        assert (platt.slope_[k], platt.offset_[k]) == pytest.approx((-a, -b), rel=1e-3)
    np.testing.assert_allclose(platt.predict_proba(scores).sum(1), 1)
    assert log_loss(y, platt.predict_proba(scores)) < log_loss(y, softmax(scores, axis=1))


def test_platt_of_a_rare_class_is_scikit_learns_sigmoid():
    z = np.random.default_rng(0).normal(size=20_000)
    y = (np.arange(len(z)) < 20).astype(int)
    z[:20] += 4
    platt = PlattScaling().fit(np.stack([-z, z], axis=1), y)
    a, b = _sigmoid_calibration(z, y)
    assert (platt.slope_[1], platt.offset_[1]) == pytest.approx((-a, -b), rel=2e-3)


def test_separable_scores_stay_finite():
    scores, y = np.array([[9.0, -9.0], [8.0, -7.0], [-9.0, 9.0], [-8.0, 9.0]]), np.array([0, 0, 1, 1])
    for scaling in (PlattScaling(), TemperatureScaling()):
        p = scaling.fit(scores, y).predict_proba(np.vstack([scores, 1e6 * scores]))
        assert np.isfinite(p).all() and (p[:4].argmax(1) == y).all()


def test_platts_probabilities_sum_to_one_where_every_sigmoid_underflows(drawn):
    scaling = PlattScaling().fit(*drawn[:2])
    np.testing.assert_allclose(scaling.predict_proba(np.full((1, drawn[0].shape[1]), -1e5)).sum(), 1.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: TemperatureScaling().fit(np.zeros(3), [0, 1, 0]), "scores must be"),
        (lambda: TemperatureScaling().fit(np.full((2, 2), np.nan), [0, 1]), "scores must be finite"),
        (lambda: TemperatureScaling().fit(np.zeros((2, 2)), [0, 2]), "y must hold"),
        (lambda: PlattScaling().fit(np.zeros((2, 3)), [0, 1]), "no sample of class 2"),
    ],
)
def test_mistakes_name_the_argument(call, words):
    with pytest.raises(ValueError, match=words):
        call()
