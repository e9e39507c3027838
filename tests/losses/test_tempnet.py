"""TempNet, and the loss its temperatures minimise: golden values, special cases, invariances, errors."""

import numpy as np
import pytest
import torch
from label_case import GOLDEN, drawn, float64

from kdzoo.errors import ConfigError
from kdzoo.losses import build_loss
from kdzoo.losses import functional as KF
from kdzoo.losses.tempnet import TempNet
from kdzoo.output import ModelOutput


def test_tempered_cross_entropy_golden():
    golden = GOLDEN["tempnet_tau_ce"]
    arguments = float64(golden["logits"]), torch.tensor(golden["labels"]), float64(golden["tau"]), golden["rho"]
    rows = KF.tempered_cross_entropy(*arguments, reduction="none")
    torch.testing.assert_close(rows, float64(golden["per_sample"]), rtol=1e-9, atol=0)
    assert KF.tempered_cross_entropy(*arguments).item() == pytest.approx(golden["loss"], rel=1e-9)


def test_tempnet_ignores_shifts_and_stays_in_bounds():
    net = TempNet(7, start=3.0, low=1.0, high=9.0, hidden=16).double().eval()
    logits = drawn(5, 7)
    torch.testing.assert_close(net(logits), torch.full((5,), 3.0, dtype=torch.float64))
    torch.nn.init.normal_(net.last.weight, std=30.0)
    tau = net(logits)
    assert tau.std() > 0.01 and ((tau > 1) & (tau < 9)).all()
    torch.testing.assert_close(net(logits + 100), tau)


def test_tempnet_by_hand():
    net = TempNet(3, start=2.0, low=1.0, high=5.0, hidden=4, dropout=0.5).double().eval()
    for p in net.parameters():
        torch.nn.init.normal_(p)
    state = {k: v.detach().numpy() for k, v in net.state_dict().items()}
    z = drawn(1, 3)
    x = z[0].numpy() - z[0].numpy().mean()
    x = x / np.sqrt((x**2).sum())
    h = 1 / (1 + np.exp(-(state["projection.0.weight"] @ x + state["projection.0.bias"])))
    h = state["projection.3.weight"] @ h + state["projection.3.bias"]
    e = np.exp(h / np.exp(state["log_scale"]))
    out = ((e / e.sum() - 1 / 4) * h) @ state["last.weight"][0] + state["last.bias"][0]
    assert net(z).item() == pytest.approx(1 + 4 / (1 + np.exp(-out)))


def test_tempnet_kd_learns_the_personal_temperatures():
    teacher = drawn(32, 10).float() * torch.linspace(0.3, 3, 32)[:, None]
    target = teacher.argmax(dim=1)
    loss = build_loss(dict(type="TempNetKD", num_classes=10, low=0.1, high=12.0, hidden=64, dropout=0.0))
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.03)
    goal = KF.personal_temperature(teacher, rho=1.0, low=0.1, high=12.0)

    def robust():
        return KF.tempered_cross_entropy(teacher, target, loss.tempnet(teacher), rho=1.0).item()

    first = robust()
    for _ in range(100):
        optimizer.zero_grad()
        loss(ModelOutput(torch.zeros_like(teacher)), ModelOutput(teacher), target).backward()
        optimizer.step()
    best = KF.tempered_cross_entropy(teacher, target, goal, rho=1.0).item()
    assert best < robust() < best + 0.3 * (first - best)
    # The direction of the logits is all the network sees, so it can't know their scale; on average it gets there.
    assert (loss.tempnet(teacher).mean() - goal.mean()).abs() < (4.0 - goal.mean()).abs()


def test_tempnet_kd_trains_student_and_network_apart():
    student, teacher = drawn(6, 5).requires_grad_(), drawn(6, 5, seed=1)
    target = torch.arange(6) % 5
    losses = [
        build_loss(dict(type="TempNetKD", num_classes=5, dropout=0.0, balance=b)).double().eval() for b in (1.0, 5.0)
    ]
    grads = [torch.autograd.grad(x(ModelOutput(student), ModelOutput(teacher), target), student)[0] for x in losses]
    torch.testing.assert_close(*grads)  # the balance does not reach the student
    expected = torch.autograd.grad(KF.kd(student, teacher, temperature=4.0), student)[0]
    torch.testing.assert_close(grads[0], expected)
    losses[0](ModelOutput(student.detach()), ModelOutput(teacher), target).backward()
    assert losses[0].tempnet.last.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, y: KF.tempered_cross_entropy(x, y, torch.ones(1)), "temperature must be"),
        (lambda x, y: KF.tempered_cross_entropy(x, y, torch.zeros(2)), "temperature must be above 0"),
        (lambda x, y: KF.tempered_cross_entropy(x, y, torch.ones(2), rho=0.0), "rho must be above 0"),
        (lambda x, y: build_loss(dict(type="TempNetKD", num_classes=3, temperature=9.0)), "temperature must start"),
        (lambda x, y: build_loss(dict(type="TempNetKD", num_classes=3, balance=0.0)), "balance must be above 0"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises((ValueError, ConfigError), match=words):
        call(torch.randn(2, 3), torch.tensor([0, 2]))
