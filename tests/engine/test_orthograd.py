"""OrthoGrad against the authors' numbers, and as a hook on real optimizers."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from kdzoo.engine.orthograd import orthograd, project

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "heads.json").read_text())["orthograd"]


def tensors(rows):
    return [torch.tensor(x, dtype=torch.float64) for x in rows]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_golden(dtype, tolerance):
    for w, g, expected in zip(*(tensors(GOLDEN[k]) for k in ("w", "grad_in", "grad_out")), strict=True):
        projected = project(w.to(dtype), g.to(dtype))
        torch.testing.assert_close(projected, expected.to(dtype), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e15])
def test_projection_is_orthogonal_and_keeps_the_length(scale):
    w, g = torch.randn(4, 3, 3), torch.randn(4, 3, 3)
    projected = project(w * scale, g)
    assert (projected * w).sum().abs() < 1e-5
    torch.testing.assert_close(projected.norm(), g.norm())
    torch.testing.assert_close(projected, project(w, g))  # only the weight's direction counts
    torch.testing.assert_close(project(w, g * scale), projected * scale, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_zero_weights_keep_the_gradient_and_parallel_ones_lose_it(dtype):
    g = torch.randn(5, 7).to(dtype)
    torch.testing.assert_close(project(torch.zeros_like(g), g), g)
    assert torch.equal(project(g, 0.1 * g), torch.zeros_like(g))
    assert torch.equal(project(torch.tensor([3.7]), torch.tensor([-0.3])), torch.zeros(1))
    assert torch.equal(project(g, torch.zeros_like(g)), torch.zeros_like(g))


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def loss_of(model):
    x = torch.linspace(-1, 1, 20).view(5, 4)
    return nn.functional.cross_entropy(model(x), torch.tensor([0, 1, 2, 1, 0]))


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.AdamW(p, lr=0.01),
        lambda p: torch.optim.SGD([dict(params=list(p), lr=0.2)], lr=0.1),
    ],
    ids=["SGD", "AdamW", "groups"],
)
def test_steps_are_those_of_the_projected_gradients(make):
    model, twin = small_model(), small_model()
    optimizer, plain = orthograd(make(model.parameters())), make(twin.parameters())
    for _ in range(3):
        for m, o in ((model, optimizer), (twin, plain)):
            o.zero_grad()
            loss_of(m).backward()
        for p in twin.parameters():
            p.grad = project(p.detach(), p.grad)
        optimizer.step(None)  # as accelerate calls it
        plain.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_a_closures_gradients_are_projected_too():
    model, twin = small_model(), small_model()
    optimizer = orthograd(torch.optim.SGD(model.parameters(), lr=0.1))
    reference = orthograd(torch.optim.SGD(twin.parameters(), lr=0.1))

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    first = loss_of(model).item()
    assert optimizer.step(closure).item() == pytest.approx(first)
    loss_of(twin).backward()
    reference.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    optimizer.step(closure=closure)
    orthograd(torch.optim.LBFGS(twin.parameters(), max_iter=3)).step(lambda: loss_of(twin))


def test_it_stays_the_optimizer_it_was():
    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    assert orthograd(optimizer) is optimizer
    schedule = lr_scheduler.StepLR(optimizer, 1, 0.5)
    loss_of(model).backward()
    optimizer.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0.05
    copy = orthograd(torch.optim.SGD(small_model().parameters(), lr=1.0, momentum=0.9))
    copy.load_state_dict(optimizer.state_dict())
    assert copy.param_groups[0]["lr"] == 0.05 and len(copy.state) == 4


def test_it_stops_the_logits_from_growing_by_scaling():
    """A linear classifier that already separates: cross-entropy only wants larger weights."""
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    twin = nn.Linear(2, 2, bias=False)
    twin.load_state_dict(model.state_dict())
    for m, o in (
        (model, orthograd(torch.optim.SGD(model.parameters(), lr=0.1))),
        (twin, torch.optim.SGD(twin.parameters(), lr=0.1)),
    ):
        for _ in range(50):
            o.zero_grad()
            nn.functional.cross_entropy(m(torch.eye(2)), torch.arange(2)).backward()
            o.step()
    # The norm grows only by the second order of the steps, which are orthogonal to the weights.
    assert model.weight.norm() < twin.weight.norm()
