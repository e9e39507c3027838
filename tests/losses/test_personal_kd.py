"""Personal temperatures: golden values, special cases, invariances, errors."""

import pytest
import torch
from label_case import divergence, drawn, float64
from scipy.optimize import minimize_scalar

from kdzoo.losses import functional as KF


def test_personal_temperature_is_where_the_robust_loss_is_least():
    logits, target = drawn(5, 7), torch.tensor([0, 1, 2, 3, 4])
    temperatures = KF.personal_temperature(logits, rho=0.8, low=0.01, high=100.0)
    for row in range(5):

        def loss(tau, row=row):
            tau = float64([tau])
            return KF.tempered_cross_entropy(logits[row : row + 1], target[row : row + 1], tau, rho=0.8).item()

        best = minimize_scalar(loss, bounds=(0.01, 100), method="bounded", options=dict(xatol=1e-10)).x
        assert temperatures[row].item() == pytest.approx(best, rel=1e-4)
    p = (logits / temperatures[:, None]).softmax(dim=1)
    torch.testing.assert_close(divergence(p), torch.full((5,), 0.8, dtype=torch.float64), rtol=0, atol=1e-9)


def test_personal_temperature_stays_in_bounds():
    logits = torch.cat([drawn(3, 4), torch.zeros(1, 4), drawn(1, 4, scale=1e5)])
    temperatures = KF.personal_temperature(logits, rho=0.5, low=2.0, high=5.0)
    assert ((2 <= temperatures) & (temperatures <= 5)).all()
    assert temperatures[3] == 2 and temperatures[4] == 5
    assert (KF.personal_temperature(logits, rho=9.0) == 1).all()  # above log 4


def test_personal_kd_with_one_temperature_is_kd():
    student, teacher = drawn(6, 5), drawn(6, 5, seed=1)
    rows = KF.personal_kd(student, teacher, torch.full((6,), 3.0), reduction="none")
    torch.testing.assert_close(rows, KF.kd(student, teacher, temperature=3.0, reduction="none"))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, y: KF.personal_temperature(x, low=3.0, high=2.0), "0 < low < high"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(torch.randn(2, 3), torch.tensor([0, 2]))
